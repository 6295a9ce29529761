// Film: frames of training on the map, played or scrubbed; points move between frames.
// Scrubber: the film of the whole run, with prototypes, counts and losses that follow it.

const FRAME_MS = 900;
const SPEEDS = [0.5, 1, 2, 4];
const GLIDE_MS = 260;
const MOST_SUREST = 6;

class Film {
  /**
   * @param {Bundle} bundle
   * @param {number[]} indices indices of the bundle's frames
   * @param {(t: number, frame: any) => void} onTime t counts from 0 and may lie between frames
   */
  constructor(bundle, indices, onTime = () => {}) {
    this.bundle = bundle;
    this.frames = indices.map((i) => bundle.frames[i]);
    this.onTime = onTime;
    this.speed = 1;
    this.cloud = new Cloud(bundle);
    this.t = this.frames.length - 1;
    this.play = button("Play", () => this.toggle(), { className: "play" });
    this.slider = make("input", { type: "range", min: 0, max: this.t, step: 1, value: this.t });
    this.slider.setAttribute("aria-label", "Time in training");
    this.slider.oninput = () => {
      this.pause();
      this.glide(Number(this.slider.value));
    };
    this.moment = text("b", "moment", "");
    this.speeds = SPEEDS.map((speed) => button(`${speed === 0.5 ? "½" : speed}×`, () => this.setSpeed(speed)));
    this.controls = make(
      "div",
      { className: "scrub" },
      this.play,
      button("‹", () => this.step(-1), { ariaLabel: "Previous frame" }),
      button("›", () => this.step(1), { ariaLabel: "Next frame" }),
      this.slider,
      this.moment,
      make("span", { className: "speeds" }, ...this.speeds),
    );
    this.root = make("div", { className: "film-strip" }, this.cloud.root, this.controls);
    this.root.film = this;
    this.root.close = () => {
      this.pause();
      this.cloud.root.close();
    };
    this.setSpeed(1);
    this.go(this.t);
  }

  get playing() {
    return this.clock !== undefined;
  }
  get last() {
    return this.frames.length - 1;
  }

  setSpeed(speed) {
    this.speed = speed;
    for (const [i, one] of SPEEDS.entries()) this.speeds[i].setAttribute("aria-pressed", String(one === speed));
  }

  go(t) {
    this.t = clamp(t, 0, this.last);
    const from = Math.floor(this.t);
    const to = Math.min(this.last, from + 1);
    const now = this.frames[Math.round(this.t)];
    const [a, b] = [this.frames[from], this.frames[to]];
    const column = (spec) => (spec ? arrayOf(spec) : undefined);
    this.cloud.show(arrayOf(a.points), arrayOf(b.points), this.t - from, column(now.labels), column(now.confidence));
    const words = `${STAGES[now.stage]} · step ${number(now.step)} of ${number(now.of)}`;
    this.slider.value = String(Math.round(this.t));
    this.slider.setAttribute("aria-valuetext", words);
    this.moment.textContent = words;
    this.onTime(this.t, now);
  }

  // Goes to the position of a previous film, unless that was at its end, if it had the same first frames.
  like({ frames, t, last, speed }) {
    const alike = frames.every(({ stage, step }, i) => this.frames[i]?.stage === stage && this.frames[i].step === step);
    if (alike && t < last) this.go(t);
    this.setSpeed(speed);
  }

  // Moves to a frame in a quarter of a second; a new goal replaces the old one.
  glide(goal) {
    const from = this.t;
    const begun = performance.now();
    this.goal = goal;
    cancelAnimationFrame(this.gliding);
    const move = () => {
      const share = clamp((performance.now() - begun) / GLIDE_MS, 0, 1);
      this.go(share === 1 ? goal : from + (goal - from) * (1 - (1 - share) ** 3));
      if (share < 1) this.gliding = requestAnimationFrame(move);
      else this.goal = undefined;
    };
    move();
  }

  step(by) {
    this.pause();
    this.glide(clamp(Math.round(this.goal ?? this.t) + by, 0, this.last));
  }

  toggle() {
    if (this.playing) this.pause();
    else this.start();
  }

  start() {
    cancelAnimationFrame(this.gliding);
    this.goal = undefined;
    if (this.t >= this.last) this.go(0);
    let before = performance.now();
    const tick = () => {
      const now = performance.now();
      this.go(this.t + ((now - before) / FRAME_MS) * this.speed);
      before = now;
      if (this.t >= this.last) this.pause();
      else this.clock = requestAnimationFrame(tick);
    };
    this.play.textContent = "Pause";
    this.clock = requestAnimationFrame(tick);
  }

  pause() {
    cancelAnimationFrame(this.clock);
    cancelAnimationFrame(this.gliding);
    this.clock = undefined;
    this.play.textContent = "Play";
  }
}

class Scrubber {
  /** @param {Bundle} bundle */
  constructor(bundle) {
    this.bundle = bundle;
    this.rows = Array.from({ length: bundle.clusters }, (_, k) => this.row(k));
    this.most = Math.max(1, ...bundle.frames.flatMap((frame) => frame.sizes ?? []));
    this.clusters = make("div", { className: "growing" }, ...this.rows.map((row) => row.root));
    this.losses = new Losses(bundle);
    this.note = text("p", "note", "");
    this.film = new Film(
      bundle,
      bundle.frames.map((_, i) => i),
      (t, frame) => this.tell(t, frame),
    );
    this.legend = make("p", { className: "legend" });
    const side = make("div", { className: "side" }, this.clusters, this.note, this.losses.canvas, this.legend);
    this.root = make(
      "section",
      { className: "scrubber" },
      make("div", { className: "scene" }, this.film.cloud.root, side),
      this.film.controls,
    );
    this.root.setAttribute("aria-label", "The whole run");
    fitted(this.clusters, (width, height) =>
      layRows(this.clusters, bundle.clusters, MOST_SUREST, 150, width, height, 44),
    );
    this.root.close = () => {
      this.film.root.close();
      this.clusters.close();
      this.losses.canvas.close();
    };
    this.tell(this.film.t, bundle.frames.at(-1));
  }

  row(k) {
    const cells = Array.from({ length: MOST_SUREST }, () => make("i", { className: "cell" }));
    const bar = text("i", "bar", "");
    const count = text("em", "", "");
    bar.style.background = colourOf(k);
    const root = make(
      "div",
      { className: "row" },
      make("span", { className: "name" }, swatch(k), String(k)),
      ...cells,
      make("span", { className: "track" }, bar),
      count,
    );
    return { root, cells, bar, count };
  }

  // Everything but the map changes only from frame to frame.
  tell(t, frame) {
    this.losses?.move(t);
    if (!this.film || this.frame === frame) return;
    this.frame = frame;
    this.rows.forEach(({ cells, bar, count }, k) => {
      const surest = frame.prototypes?.[k] ?? [];
      cells.forEach((cell, i) => {
        cell.classList.toggle("none", surest[i] === undefined);
        if (surest[i] !== undefined) this.bundle.sheet.fill(cell, surest[i]);
      });
      bar.style.width = `${(100 * (frame.sizes?.[k] ?? 0)) / this.most}%`;
      count.textContent = frame.sizes ? number(frame.sizes[k]) : "";
    });
    this.clusters.classList.toggle("idle", !frame.sizes && !frame.prototypes);
    this.legend.replaceChildren(
      ...this.losses.at(frame).map(({ name, value, colour }) => {
        const dash = text("i", "dash", "");
        dash.style.background = colour;
        return make("span", {}, dash, `${name} ${short(value)}`);
      }),
    );
    this.note.textContent = frame.labels
      ? ""
      : "Stage 1 has no clusters yet: it only learns which views belong together.";
  }
}

// The losses of the stages, each on its own scale, over the time of the film.
class Losses {
  /** @param {Bundle} bundle */
  constructor(bundle) {
    this.stages = [...new Set(bundle.frames.map((frame) => frame.stage))].map((stage) => ({
      stage,
      places: bundle.frames.flatMap((frame, i) => (frame.stage === stage ? [[i, frame.step]] : [])),
      losses: bundle.curves.find((one) => one.stage === stage)?.losses ?? {},
    }));
    this.last = Math.max(1, bundle.frames.length - 1);
    this.canvas = fitted(make("canvas", { className: "losses" }), () => this.draw());
    this.canvas.setAttribute("aria-label", "Losses over the run");
  }

  move(t) {
    this.t = t;
    if (this.canvas.clientWidth) this.draw();
  }

  // The losses at a frame, in its stage.
  at({ stage, step }) {
    const { losses } = this.stages.find((one) => one.stage === stage);
    return Object.entries(losses)
      .map(([name, points], n) => ({
        name,
        value: (points.findLast(([at]) => at <= step) ?? points[0])[1],
        colour: CLUSTERS[n % CLUSTERS.length],
      }))
      .filter(({ value }) => Number.isFinite(value));
  }

  // The time of a step on the film.
  time(places, step) {
    const next = places.findIndex(([, at]) => at >= step);
    if (next <= 0) return places[next < 0 ? places.length - 1 : 0][0];
    const [[i, before], [j, after]] = [places[next - 1], places[next]];
    return i + ((step - before) / Math.max(1e-9, after - before)) * (j - i);
  }

  draw() {
    const { pen, width, height, ink } = penOf(this.canvas);
    const roof = 18;
    const x = (t) => (t / this.last) * (width - 2) + 1;
    for (const { stage, places, losses } of this.stages) {
      pen.fillStyle = ink;
      pen.globalAlpha = 0.75;
      if (places[0][0]) {
        pen.fillRect(x(places[0][0] - 0.5), 0, 1, height);
      }
      pen.fillText(STAGES[stage], x(places[0][0] ? places[0][0] - 0.5 : 0) + 4, 12);
      pen.globalAlpha = 1;
      Object.values(losses).forEach((points, n) => {
        const values = points.map(([, value]) => value).filter(Number.isFinite);
        const low = Math.min(...values);
        const high = Math.max(...values);
        pen.strokeStyle = CLUSTERS[n % CLUSTERS.length];
        pen.lineWidth = 1.5;
        pen.beginPath();
        for (const [step, value] of points) {
          if (Number.isFinite(value))
            pen.lineTo(
              x(this.time(places, step)),
              height - 3 - ((value - low) / Math.max(1e-9, high - low)) * (height - roof - 5),
            );
        }
        pen.stroke();
      });
    }
    pen.strokeStyle = ink;
    pen.lineWidth = 1;
    if (this.t !== undefined) lineDown(pen, x(this.t), height, roof);
  }
}
