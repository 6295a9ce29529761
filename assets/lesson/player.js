// The player: nine steps, a quiz after the eighth, and the whole run, on a page or in presenter mode.

const QUIZ_AFTER = 8;

const placeOf = ({ kind, step }) => step?.key ?? kind;

class Player {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.at = 0;
    this.steps = new Map();
    root.className = "lesson";
    root.tabIndex = 0;
    this.dots = make("nav", { className: "dots", ariaLabel: "Steps" });
    this.screen = make("div", { className: "screen" });
    this.below = make("div", { className: "below" });
    this.back = button("← Back", () => this.go(this.at - 1));
    this.next = button("Next →", () => this.go(this.at + 1), { className: "primary" });
    this.tools = make(
      "span",
      { className: "tools" },
      button("Present", () => this.present(true), { title: "Presenter mode (P)" }),
      button("Keys", () => this.ask(true), { title: "All keys (?)" }),
    );
    this.help = helpOf(() => this.ask(false));
    root.replaceChildren(
      make("header", {}, this.dots, this.tools),
      this.screen,
      make("footer", {}, this.back, this.next),
      this.below,
      this.help,
    );
    this.listen();
  }

  listen() {
    this.pressed = (e) => this.key(e);
    document.addEventListener("keydown", this.pressed);
    // After dragging, a slider gives up the focus, and with it the arrow keys.
    this.root.addEventListener("pointerup", (e) => {
      const target = /** @type {HTMLInputElement} */ (e.target);
      if (target.type === "range") target.blur();
    });
    this.left = () => {
      if (!document.fullscreenElement && this.filled) this.present(false);
    };
    document.addEventListener("fullscreenchange", this.left);
    this.recolour = matchMedia("(prefers-color-scheme: dark)");
    this.recoloured = () => this.draw();
    this.recolour.addEventListener("change", this.recoloured);
  }

  // Takes the lesson's data; `waits`: sentences for steps whose stage is still training, by stage; `from`: where the
  // reader was, if this is the first lesson here.
  take(data, waits = {}, from = undefined) {
    const before = this.bundle;
    const same = before?.run === data.run;
    const place = same ? this.place : before ? undefined : from;
    this.bundle = new Bundle(data);
    this.waits = waits;
    if (same) this.keep(before);
    else this.forget();
    this.screens = data.steps.map((step, i) => ({
      kind: "step",
      step,
      place: i + 1,
      mark: String(i + 1),
      title: step.title,
    }));
    if (data.quiz)
      this.screens.splice(QUIZ_AFTER, 0, { kind: "quiz", mark: "?", title: "Quiz: which will be rejected?" });
    if (data.frames.length) this.screens.push({ kind: "run", mark: "▶\uFE0E", title: "The whole run" });
    this.dots.replaceChildren(...this.screens.map((one, i) => this.dot(one, i)));
    this.at = Math.max(
      0,
      this.screens.findIndex((one) => placeOf(one) === place),
    );
    this.draw();
    before?.close();
  }

  // Keeps the reader's choices from the previous lesson, where that part has not changed.
  keep(before) {
    const { bundle } = this;
    const alike = (part) => JSON.stringify(part(before)) === JSON.stringify(part(bundle));
    if (alike((one) => one.xray && [one.imagesAt(one.xray.places), one.xray.steps])) bundle.looked = before.looked;
    const asked = (one) => one.quiz && [{ ...one.quiz, places: one.imagesAt(one.quiz.places) }];
    this.made = this.made && alike(asked) ? new Quiz(bundle).like(this.made) : undefined;
  }

  dot({ mark, title, step }, i) {
    const made = button(mark, () => this.go(i), { title, ariaLabel: title });
    if (step?.needs) made.classList.add("locked");
    return made;
  }

  go(at) {
    if (at < 0 || at >= this.screens.length) return;
    if (at === this.at && this.shown) return;
    this.at = at;
    this.draw();
  }

  goTo(kind, place) {
    const at = this.screens.findIndex((one) => one.kind === kind && (place === undefined || one.place === place));
    if (at >= 0) this.go(at);
  }

  get presenting() {
    return this.root.classList.contains("presenting");
  }

  draw() {
    if (!this.screens) return;
    const screen = this.screens[this.at];
    const film = placeOf(screen) === this.place ? this.scrubber?.film : undefined;
    this.shown?.root.close?.();
    this.scrubber?.root.close();
    this.scrubber = undefined;
    this.place = placeOf(screen);
    this.root.dataset.screen = screen.kind === "step" ? screen.place : screen.kind;
    [...this.dots.children].forEach((dot, i) => {
      if (i === this.at) dot.setAttribute("aria-current", "step");
      else dot.removeAttribute("aria-current");
    });
    this.back.disabled = this.at === 0;
    this.next.disabled = this.at === this.screens.length - 1;
    this.shown = this[screen.kind](screen);
    this.screen.replaceChildren(this.shown.root);
    this.under(screen.kind);
    if (film) this.scrubber?.film.like(film);
    this.root.dataset.ready = "true";
  }

  step({ step, place }) {
    const made = new Step(this.bundle, step, place, this.waits[step.key]);
    // When a step is drawn again, for a newer lesson or in presenter mode, it keeps the reader's choices.
    return this.shown?.data?.key === step.key ? made.like(this.shown) : made;
  }

  quiz() {
    this.made ??= new Quiz(this.bundle); // the marks stay while the reader looks at another step
    const head = make(
      "div",
      { className: "words" },
      text("h2", "", "Which will be rejected?"),
      text("p", "sentence", "Mark the pictures whose label you think will be rejected, then check."),
    );
    return {
      root: make("article", { className: "step quizzing" }, head, this.made.root),
      key: (key) => this.made.key(key),
    };
  }

  run() {
    this.scrubber = new Scrubber(this.bundle);
    const head = make("div", { className: "words" }, text("h2", "", "The whole run"));
    return { root: make("article", { className: "step running" }, head, this.scrubber.root) };
  }

  // On the page, the whole run is also shown below each step.
  under(kind) {
    const wanted = kind !== "run" && !this.presenting && this.bundle.frames.length;
    if (!wanted) return this.below.replaceChildren();
    this.scrubber = new Scrubber(this.bundle);
    this.below.replaceChildren(text("h3", "", "The whole run"), this.scrubber.root);
  }

  forget() {
    this.shown?.root.close?.();
    this.scrubber?.root.close();
    this.shown = undefined;
    this.scrubber = undefined;
    this.made = undefined;
  }

  // -- presenter mode ------------------------------------------------------------------------------

  // Shows the lesson in the top layer, above the page; `fill` also requests full screen.
  present(on, fill = false) {
    if (on === this.presenting) return;
    this.root.classList.toggle("presenting", on);
    if (on) {
      this.root.popover = "manual";
      this.root.showPopover();
      this.root.focus({ preventScroll: true });
      if (fill)
        this.root
          .requestFullscreen?.()
          .then(() => {
            this.filled = true;
          })
          .catch(() => {});
    } else {
      if (this.filled && document.fullscreenElement) document.exitFullscreen().catch(() => {});
      this.filled = false;
      this.root.popover = null;
    }
    this.draw();
  }

  ask(open) {
    this.help.hidden = !open;
    if (open) this.help.querySelector("button").focus();
  }

  // -- keys ----------------------------------------------------------------------------------------

  key(e) {
    const target = e.composedPath()[0] ?? e.target;
    const inside = e.composedPath().includes(this.root);
    if (!this.screens || e.altKey || e.ctrlKey || e.metaKey || e.defaultPrevented) return;
    if (typing(target) || !this.root.isConnected) return;
    // Controls elsewhere on the page handle their own keys; links and buttons use only two.
    if (!inside && !this.presenting && target.closest?.("[role]:not(a, button), input, select, summary")) return;
    const range = target.type === "range" && !this.presenting;
    if (range && e.key.startsWith("Arrow")) return;
    if (!this.presenting && [" ", "Enter"].includes(e.key) && target.matches?.("a, button, input[type=checkbox]"))
      return;
    if (this.act(e.key)) {
      e.preventDefault();
      e.stopPropagation();
    }
  }

  act(key) {
    if (!this.help.hidden) {
      if (key === "Escape" || key === "?") this.ask(false);
      return true;
    }
    if (this.shown.key?.(key)) return true;
    const step = this.shown instanceof Step ? this.shown : undefined;
    const film = step?.film ?? this.scrubber?.film;
    const acts = {
      ArrowRight: () => this.go(this.at + 1),
      ArrowLeft: () => this.go(this.at - 1),
      PageDown: () => this.go(this.at + 1),
      PageUp: () => this.go(this.at - 1),
      Home: () => this.go(0),
      End: () => this.go(this.screens.length - 1),
      q: () => this.goTo("quiz"),
      0: () => this.goTo("run"),
      "?": () => this.ask(true),
      p: () => this.present(!this.presenting),
      f: () => this.present(!this.presenting, true),
      ...(this.presenting && { Escape: () => this.present(false) }),
      ...(step?.slider && {
        ArrowUp: () => step.choose(step.result + 1),
        ArrowDown: () => step.choose(step.result - 1),
      }),
      ...(step?.box && { w: () => step.setWrong(!step.wrong) }),
      ...(film && {
        " ": () => film.toggle(),
        ",": () => film.step(-1),
        ".": () => film.step(1),
        s: () => film.setSpeed(SPEEDS[(SPEEDS.indexOf(film.speed) + 1) % SPEEDS.length]),
      }),
    };
    const found = acts[key.length === 1 ? key.toLowerCase() : key];
    if (/^[1-9]$/.test(key)) this.goTo("step", Number(key));
    else if (found) found();
    else return false;
    return true;
  }

  close() {
    document.removeEventListener("keydown", this.pressed);
    document.removeEventListener("fullscreenchange", this.left);
    this.recolour.removeEventListener("change", this.recoloured);
    this.forget();
    this.bundle?.close();
  }
}
