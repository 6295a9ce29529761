// The plane: agreement × confidence, with the images as cells and the thresholds as lines to drag.

const NINES_COLUMNS = 40;
const MOST_ROWS = 28;
const X_TICKS = [0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
const Y_TICKS = [0, 0.25, 0.5, 0.75, 1];

class Plane {
  /**
   * @param {HTMLElement} root
   * @param {Inspector} owner
   */
  constructor(root, owner) {
    this.owner = owner;
    this.area = part(root, ".area");
    /** @type {HTMLCanvasElement} */
    this.canvas = part(root, "canvas");
    this.ticks = part(root, ".ticks");
    this.across = part(root, ".across");
    this.down = part(root, ".down");
    this.corner = part(root, ".corner");
    this.listen();
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(this.area);
  }

  nines(p) {
    return -Math.log10(Math.max(1 - p, 10 ** -this.most));
  }

  // The x of a confidence, from 0 to the width.
  x(p) {
    return (this.nines(p) / this.most) * this.width;
  }
  // The y of a number of neighbours, from the height to 0. All have rows of equal height, which extend
  // half a row beyond the agreements 0 and 1.
  y(m) {
    return (1 - (m + 0.5) / (this.count + 1)) * this.height;
  }

  take(confidence, agreed, count, most) {
    this.most = most;
    if (this.confidence !== confidence) {
      this.confidence = confidence;
      this.column = new Uint8Array(confidence.length);
      for (let i = 0; i < confidence.length; i++) {
        this.column[i] = Math.min(NINES_COLUMNS - 1, (this.nines(confidence[i]) / most) * NINES_COLUMNS);
      }
    }
    this.count = count;
    this.each = Math.ceil((count + 1) / MOST_ROWS);
    this.rows = Math.ceil((count + 1) / this.each);
    this.cells = new Uint32Array(this.rows * NINES_COLUMNS);
    // Fill rows from the top, where the thresholds are.
    for (let i = 0; i < agreed.length; i++) {
      this.cells[Math.floor((count - agreed[i]) / this.each) * NINES_COLUMNS + this.column[i]]++;
    }
    this.fullest = this.cells.reduce((a, b) => Math.max(a, b), 1);
    this.resize();
  }

  show(asked, need) {
    this.asked = asked;
    this.need = need;
    this.draw();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.area.clientWidth;
    this.height = this.area.clientHeight;
    this.canvas.width = this.width * ratio;
    this.canvas.height = this.height * ratio;
    if (this.cells) {
      this.label();
      this.draw();
    }
  }

  // The y of the top and the bottom of a row of cells.
  span(row) {
    const top = this.count - row * this.each;
    const bottom = Math.max(0, top - this.each + 1);
    return [this.y(top + 0.5), this.y(bottom - 0.5)];
  }

  draw() {
    if (!this.cells || !this.asked || !this.width) return;
    const pen = this.canvas.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    const x = this.x(this.asked.confidence);
    const y = this.y(this.need - 0.5);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    /** @type {[left: number, top: number, right: number, bottom: number][]} */
    const areas = [
      [x, 0, this.width, y],
      [x, y, this.width, this.height],
      [0, 0, x, y],
      [0, y, x, this.height],
    ];
    for (const [verdict, area] of areas.entries()) {
      this.part(pen, area, this.owner.data.colours[verdict], verdict);
    }
    this.lines(x, y);
  }

  part(pen, [left, top, right, bottom], colour, verdict) {
    pen.save();
    pen.beginPath();
    pen.rect(left, top, right - left, bottom - top);
    pen.clip();
    pen.fillStyle = colour;
    pen.globalAlpha = verdict ? 0.13 : 0.03;
    pen.fillRect(left, top, right - left, bottom - top);
    const wide = this.width / NINES_COLUMNS;
    const scale = Math.log(1 + this.fullest);
    for (let row = 0; row < this.rows; row++) {
      const [above, below] = this.span(row);
      if (below <= top || above >= bottom) continue;
      for (let column = 0; column < NINES_COLUMNS; column++) {
        const images = this.cells[row * NINES_COLUMNS + column];
        if (!images) continue;
        pen.globalAlpha = 0.42 + (0.58 * Math.log(1 + images)) / scale;
        pen.fillRect(column * wide, above, wide - 1, below - above - 1);
      }
    }
    pen.restore();
  }

  lines(x, y) {
    const { agreement, confidence } = this.asked;
    this.down.style.left = `${x}px`;
    this.across.style.top = `${y}px`;
    this.corner.style.left = `${x}px`;
    this.corner.style.top = `${y}px`;
    this.down.classList.toggle("far", x > this.width - 130);
    this.across.classList.toggle("low", y > this.height - 40);
    this.say(this.down, confidence, `confidence ≥ ${plain(confidence)}`);
    this.say(this.across, agreement, `agreement ≥ ${plain(agreement)}: ${this.need} of ${this.count}`);
  }

  say(line, value, words) {
    line.querySelector("b").textContent = words;
    line.setAttribute("aria-valuenow", String(value));
    line.setAttribute("aria-valuetext", words);
  }

  label() {
    const { offsetLeft: left, offsetTop: top } = this.area;
    this.ticks.replaceChildren();
    for (const tick of X_TICKS) this.tick("x", tick, left + this.x(tick), top + this.height + 8);
    for (const tick of Y_TICKS) this.tick("y", tick, left - 7, top + this.y(tick * this.count));
  }

  tick(kind, value, x, y) {
    const made = make("span", { className: kind, textContent: kind === "y" ? `${100 * value}\u00a0%` : String(value) });
    made.style.left = `${x}px`;
    made.style.top = `${y}px`;
    this.ticks.append(made);
  }

  // The shortest number for an agreement that requires exactly `need` neighbours.
  agreementOf(need) {
    const unit = 10 ** Math.max(3, Math.ceil(Math.log10(this.count)));
    return Math.floor((need * unit) / this.count) / unit;
  }

  // A confidence, rounded to digits that suit its number of nines.
  confidenceOf(nines) {
    const digits = Math.max(3, Math.ceil(nines) + 2);
    return clamp(Number((1 - 10 ** -clamp(nines, 0, this.most)).toFixed(digits)), 0, 1);
  }

  at(e) {
    const box = this.area.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  }

  dragged(e, { across, down }) {
    const [x, y] = this.at(e);
    const change = {};
    if (down) change.confidence = this.confidenceOf((x / this.width) * this.most);
    if (across) {
      const need = Math.round((1 - y / this.height) * (this.count + 1));
      change.agreement = this.agreementOf(clamp(need, 0, this.count));
    }
    this.owner.ask(change, false);
  }

  listen() {
    this.hold(this.across, { across: true });
    this.hold(this.down, { down: true });
    this.hold(this.corner, { across: true, down: true });
    this.across.addEventListener("keydown", (e) => this.type(e, "agreement"));
    this.down.addEventListener("keydown", (e) => this.type(e, "confidence"));
    this.area.addEventListener("pointermove", (e) => this.point(e));
    this.area.addEventListener("pointerleave", () => this.owner.tip());
  }

  hold(handle, which) {
    let held = false;
    handle.addEventListener("pointerdown", (e) => {
      if (!this.cells) return;
      held = true;
      handle.classList.add("held");
      handle.setPointerCapture(e.pointerId);
      this.owner.tip();
    });
    handle.addEventListener("pointermove", (e) => {
      if (held) this.dragged(e, which);
    });
    const release = () => {
      if (!held) return;
      held = false;
      handle.classList.remove("held");
      this.owner.settle();
    };
    handle.addEventListener("pointerup", release);
    handle.addEventListener("pointercancel", release);
  }

  type(e, what) {
    const way = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }[e.key];
    const end = { Home: 0, End: 1 }[e.key];
    if (!this.cells || (way === undefined && end === undefined)) return;
    e.preventDefault();
    // Use the requested thresholds, not the drawn ones: keys repeat faster than frames.
    const step = way * (e.shiftKey ? 10 : 1);
    const { agreement, confidence } = this.owner.asked;
    if (end !== undefined) this.owner.ask({ [what]: end });
    else if (what === "agreement") {
      const need = Judge.need(agreement, this.count) + step;
      this.owner.ask({ agreement: this.agreementOf(clamp(need, 0, this.count)) });
    } else {
      // Steps of 0.01 below 0.9, 0.001 below 0.99, and so on.
      const fine = 10 ** -Math.min(this.most, Math.floor(this.nines(confidence) + 1e-9) + 2);
      this.owner.ask({ confidence: clamp(Number((confidence + step * fine).toFixed(7)), 0, 1) });
    }
  }

  point(e) {
    if (!this.cells || e.buttons) return;
    const [x, y] = this.at(e);
    const column = clamp(Math.floor((x / this.width) * NINES_COLUMNS), 0, NINES_COLUMNS - 1);
    const row = [...Array(this.rows).keys()].find((one) => y < this.span(one)[1]) ?? this.rows - 1;
    const images = this.cells[row * NINES_COLUMNS + column];
    if (!images || e.target !== this.canvas) return this.owner.tip();
    const top = this.count - row * this.each;
    const bottom = Math.max(0, top - this.each + 1);
    const share = (n) => plain(1 - 10 ** ((-n * this.most) / NINES_COLUMNS));
    const near = top === bottom ? `${top}` : `${bottom} to ${top}`;
    const last = column === NINES_COLUMNS - 1;
    this.owner.tip(e, [
      images === 1 ? "1 image" : `${number(images)} images`,
      `${near} of ${this.count} neighbours agree`,
      last ? `confidence from ${share(column)}` : `confidence ${share(column)} to ${share(column + 1)}`,
    ]);
  }

  close() {
    this.watcher.disconnect();
  }
}
