// X-ray: one image in joint training: the prediction for its weak view, whether that is confident enough,
// and what its strong view learns, over the frames of stage 3.

const CHOICE_ROWS = 3;
const MOST_CHOICE = 24;
// The note on τ by rule: with "fixed" it holds for all clusters, with "flex" only for those learned best.
const LEVELS = { fixed: "", flex: ", the highest threshold" };

class XRay {
  /** @param {Bundle} bundle */
  constructor(bundle) {
    const { xray } = bundle;
    // The choice is kept in the bundle, because the figure is created again whenever its step is drawn.
    this.place = bundle.looked ??= { image: 0, frame: xray.steps.length - 1 };
    this.bundle = bundle;
    this.xray = xray;
    const count = xray.places.length * xray.steps.length;
    this.weak = bundle.own(xray.weak, count);
    this.strong = bundle.own(xray.strong, count);
    this.probabilities = arrayOf(xray.probabilities);
    this.loss = arrayOf(xray.loss);
    this.weights = arrayOf(xray.weights);
    this.passes = arrayOf(xray.passes);
    this.labels = arrayOf(xray.labels);
    this.clusters = shapeOf(xray.probabilities)[2];
    this.build();
    this.choose(this.place.image);
  }

  build() {
    const { bundle, xray } = this;
    this.choices = xray.places.map((place, i) => {
      const cell = bundle.sheet.cell(place);
      const choice = make("button", { type: "button", onclick: () => this.choose(i) }, cell);
      choice.setAttribute("aria-label", `X-ray of ${bundle.nameOf(place)}`);
      return choice;
    });
    this.bars = make("div", { className: `bars probabilities${xray.adapt in LEVELS ? "" : " without-level"}` });
    this.slider = make("input", { type: "range", min: 0, max: xray.steps.length - 1, value: this.place.frame });
    this.slider.setAttribute("aria-label", "Time in stage 3");
    this.slider.oninput = () => this.go(Number(this.slider.value));
    this.pictures = ["weak view", "strong view"].map((name) =>
      make("div", { className: "view" }, make("i", { className: "cell" }), text("span", "", name)),
    );
    this.history = make("div", { className: "history" });
    this.verdict = text("p", "verdict", "");
    this.moment = text("span", "moment", "");
    this.chosen = fitted(make("div", { className: "choices" }, ...this.choices), (width) => {
      const each = Math.ceil(this.choices.length / CHOICE_ROWS);
      this.chosen.style.setProperty("--cell", `${Math.floor(clamp(width / each - 7, 12, MOST_CHOICE))}px`);
    });
    this.root = make(
      "div",
      { className: "xray" },
      this.chosen,
      make("div", { className: "film" }, this.pictures[0], this.bars, this.pictures[1]),
      this.verdict,
      this.history,
      make("div", { className: "scrub" }, this.slider, this.moment),
    );
    this.root.close = () => {
      this.lines?.close();
      this.chosen.close();
    };
  }

  choose(image) {
    this.place.image = image;
    for (const [i, choice] of this.choices.entries()) choice.setAttribute("aria-pressed", String(i === image));
    const { xray, clusters } = this;
    const frames = xray.steps.length;
    const at = (f) => image * frames + f;
    const surest = xray.steps.map((_, f) =>
      Math.max(...this.probabilities.subarray(at(f) * clusters, (at(f) + 1) * clusters)),
    );
    const losses = xray.steps.map((_, f) => this.loss[at(f)]);
    const most = Math.max(1e-9, ...losses);
    this.lines?.close();
    this.lines = linesOf(
      [
        { name: "highest probability of the weak view", values: surest, colour: CLUSTERS[0] },
        {
          name: `loss of the strong view, up to ${short(most)}`,
          values: losses.map((one) => one / most),
          colour: CLUSTERS[1],
        },
      ],
      xray.adapt in LEVELS ? { level: xray.threshold, words: `τ = ${xray.threshold}${LEVELS[xray.adapt]}` } : {},
    );
    this.history.replaceChildren(this.lines);
    this.go(this.place.frame);
  }

  go(frame) {
    const { xray, clusters, place } = this;
    const at = place.image * xray.steps.length + frame;
    place.frame = frame;
    this.slider.value = frame;
    this.weak.fill(this.pictures[0].firstChild, at);
    this.strong.fill(this.pictures[1].firstChild, at);
    const chances = [...this.probabilities.subarray(at * clusters, (at + 1) * clusters)];
    const passes = Boolean(this.passes[at]);
    this.root.dataset.passes = String(passes);
    this.draw(chances);
    this.verdict.textContent =
      this.weighed(at, Math.max(...chances)) +
      (passes
        ? ` The strong view learns cluster ${this.labels[at]}, loss ${short(this.loss[at])}.`
        : " The strong view is not used this time.");
    this.moment.textContent = `step ${number(xray.steps[frame])} of ${number(xray.steps.at(-1))}`;
    this.lines.move(frame / Math.max(1, xray.steps.length - 1));
  }

  // Says whether the weak view was confident enough: for τ, or for the adaptive threshold at this step.
  weighed(at, surest) {
    const { adapt, threshold } = this.xray;
    const sure = percent(surest);
    const cluster = this.labels[at];
    const there = `cluster ${cluster} at this point`;
    if (adapt === "soft") return `The weak view's confidence is ${sure}; it counts ${percent(this.weights[at])}.`;
    if (this.passes[at]) {
      if (adapt === "fixed" || (adapt === "flex" && surest >= threshold)) return `The weak view passes: ${sure} ≥ τ.`;
      const less = adapt === "flex" ? "less than τ, but " : "";
      return `The weak view passes: ${sure} is ${less}enough for ${there}.`;
    }
    return `The weak view does not pass: ${sure} ${adapt === "fixed" ? "< τ" : `is too little for ${there}`}.`;
  }

  // If there are many clusters, shows the most probable ones; the line is τ.
  draw(chances) {
    const order = chances.map((_, k) => k);
    const shown = chances.length > 12 ? order.sort((a, b) => chances[b] - chances[a]).slice(0, 12) : order;
    const drawn = barsOf(
      shown.map((k) => chances[k]),
      { most: 1, words: percent, colour: (i) => colourOf(shown[i]), name: (i) => shown[i] },
    );
    this.bars.replaceChildren(...drawn.children);
    this.bars.style.setProperty("--level", this.xray.threshold);
  }
}
