// Step: one sentence, the formula, pictures and numbers, one slider to try, and what can go wrong.

class Step {
  /**
   * @param {Bundle} bundle
   * @param {any} data
   * @param {number} place from 1 to 9
   * @param {string | undefined} waits the sentence to show while the step's stage is still training
   */
  constructor(bundle, data, place, waits) {
    this.bundle = bundle;
    this.data = data;
    this.result = data.play?.start ?? 0;
    this.wrong = false;
    this.touched = false;
    this.figures = make("div", { className: "figures" });
    this.numbers = make("div", { className: "numbers" });
    this.says = text("p", "says", "");
    this.says.setAttribute("role", "status");
    this.words = make(
      "div",
      { className: "words" },
      text("p", "place", `${place} of ${bundle.steps.length}`),
      text("h2", "", data.title),
      text("p", "sentence", data.sentence),
      data.formula
        ? make(
            "div",
            { className: "formula" },
            text("span", "", data.formula),
            data.source ? text("cite", "", data.source) : undefined,
          )
        : undefined,
      ...(data.needs
        ? [text("p", "needs", waits || data.needs)]
        : [this.numbers, this.playing(), this.says, this.trouble()]),
    );
    this.root = make("article", { className: "step" }, this.words, this.figures);
    this.root.dataset.step = data.key;
    this.root.close = () => {
      this.close();
      this.watcher.disconnect();
    };
    this.watcher = new ResizeObserver(() => this.fit());
    this.watcher.observe(this.words);
    if (data.needs) this.figures.append(this.blank(waits || data.needs));
    else this.draw();
  }

  // A placeholder for the pictures of a step whose stage is not done.
  blank(words) {
    const places = Array.from({ length: 40 }, () => text("i", "", ""));
    return make("div", { className: "blank", ariaHidden: true, title: words }, ...places);
  }

  playing() {
    const { play } = this.data;
    if (!play) return undefined;
    this.slider = make("input", { type: "range", min: 0, max: play.values.length - 1, step: 1, value: this.result });
    this.slider.setAttribute("aria-label", play.label);
    this.value = text("output", "", "");
    this.slider.oninput = () => this.choose(Number(this.slider.value));
    const own = text("i", "own", "");
    own.title = "the run's setting";
    own.style.setProperty("--at", play.start / Math.max(1, play.values.length - 1));
    this.unplayed = this.data.show.frames
      ? button("Back to this run's animation", () => this.unplay(), { hidden: true })
      : undefined;
    const label = make(
      "label",
      { className: "play-with" },
      text("span", "label", play.label),
      this.value,
      make("span", { className: "slide" }, this.slider, play.own === false ? undefined : own),
    );
    return make("div", {}, label, this.unplayed);
  }

  trouble() {
    const { wrong } = this.data;
    if (!wrong) return undefined;
    this.box = make("input", { type: "checkbox", className: "switch" });
    this.box.setAttribute("role", "switch");
    this.box.onchange = () => this.setWrong(this.box.checked);
    return make(
      "label",
      { className: "wrong" },
      this.box,
      make("span", {}, text("b", "", "What goes wrong "), wrong.label),
    );
  }

  // Takes over the reader's choices from the same step, if it still offers the same values.
  like({ data: { play }, result, wrong, touched, film: before }) {
    const own = this.data.play;
    if (this.data.needs) return this;
    if (!touched && !wrong) {
      if (before) this.film?.like(before);
      return this;
    }
    if (own && JSON.stringify([own.name, own.values]) === JSON.stringify([play?.name, play?.values])) {
      this.result = result;
      this.touched = touched;
      this.slider.value = result;
    }
    this.setWrong(wrong);
    return this;
  }

  choose(result) {
    if (!this.data.play) return;
    this.result = clamp(result, 0, this.data.play.values.length - 1);
    this.touched = true;
    this.slider.value = this.result;
    this.setWrong(false);
  }

  // Shows the run's own film again instead of the results of short trainings.
  unplay() {
    this.choose(this.data.play.start);
    this.touched = false;
    this.draw();
  }

  setWrong(wrong) {
    if (this.box) this.box.checked = wrong;
    this.wrong = wrong && Boolean(this.data.wrong);
    this.draw();
  }

  get film() {
    return part(this.figures, ".film-strip")?.film;
  }

  get shown() {
    const { show, play, wrong } = this.data;
    if (this.wrong) return { originals: show.originals, ...wrong.show, says: wrong.says };
    if (show.frames && !this.touched) return show;
    return { ...show, ...(play?.results?.[this.result] ?? {}) };
  }

  draw() {
    const { shown } = this;
    const { play } = this.data;
    const own = play?.own !== false;
    if (this.value) {
      const value = play.values[this.result];
      this.value.textContent = typeof value === "number" ? short(value) : String(value);
      this.slider.setAttribute("aria-valuetext", this.value.textContent);
      this.value.classList.toggle("is-own", own && this.result === play.start);
      // The film shows the run itself, which has none of these values.
      if (!own && this.data.show.frames && !this.touched) this.value.textContent = "";
    }
    if (this.unplayed) this.unplayed.hidden = !this.touched;
    this.close();
    this.root.classList.toggle("is-wrong", this.wrong);
    this.says.textContent = shown.says ?? "";
    this.figures.replaceChildren(...figuresOf(shown, { bundle: this.bundle }));
    this.figures.classList.toggle("beside", Boolean(shown.similarity));
    this.numbers.replaceChildren(...[tilesOf(shown), truthOf(shown.truth)].filter(Boolean));
    this.fit();
  }

  // In presenter mode text cannot be scrolled, so it is made smaller until it fits.
  fit() {
    const { words } = this;
    const presenting = words.closest(".presenting");
    for (const zoom of presenting ? [1, 0.94, 0.88, 0.82, 0.76, 0.7, 0.64, 0.58] : [1]) {
      words.style.zoom = String(zoom);
      if (words.scrollHeight <= words.clientHeight + 1) return;
    }
  }

  // Figures observe their size, which must stop before they are replaced.
  close() {
    /** @type {NodeListOf<HTMLElement>} */
    const all = this.figures.querySelectorAll("*");
    for (const one of all) one.close?.();
  }
}
