// Question: the field for finding a class by name or naming a new one.

const MOST_FOUND = 8;
const MOST_LETTERS = 60;

// Ignores accents and case: "Ete" finds "été".
const folded = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

class Question {
  /**
   * @param {HTMLElement} root
   * @param {() => void} onLeave
   */
  constructor(root, onLeave) {
    this.root = root;
    this.onLeave = onLeave;
    root.addEventListener("keydown", (e) => this.type(e));
    root.addEventListener("click", (e) => {
      const entry = holder(e, "[data-place]");
      if (entry) this.answer(Number(entry.dataset.place));
    });
  }

  get open() {
    return !this.root.hidden;
  }

  /**
   * Asks for one of `classes`, then calls `then(number)`.
   * @param {Classes} classes
   * @param {(number: number) => void} then
   */
  find(classes, then) {
    this.thumbs = (number) => classes.thumbs(number);
    this.known = classes.list.map((one) => ({ ...one, folded: folded(one.name) }));
    this.begin("Name of a class", "Enter takes the first · ↑↓ choose · Esc cancels", then);
    this.seek();
  }

  // Asks for the name of a new class, then calls `then(name)`.
  name(images, then) {
    this.known = undefined;
    this.begin(`Name of a new class for ${several(images, "image")}`, "Enter creates it · Esc cancels", then);
  }

  begin(label, hint, then) {
    this.onAnswer = then;
    this.at = 0;
    this.found = [];
    this.input = make("input", { type: "text", placeholder: label, maxLength: MOST_LETTERS });
    Object.assign(this.input, { autocomplete: "off", spellcheck: false, ariaLabel: label });
    this.list = make("div", { className: "found" });
    this.input.oninput = () => this.seek();
    this.root.replaceChildren(this.input, this.list, make("div", { className: "words", textContent: hint }));
    this.root.hidden = false;
    this.input.focus({ preventScroll: true });
  }

  // Lists names that start with the text, then names that contain it; a number finds its class too.
  seek() {
    if (!this.known) return;
    const asked = folded(this.input.value.trim());
    const ranks = [[], [], []];
    for (const one of this.known) {
      const place = String(one.number) === asked ? 0 : one.folded.indexOf(asked);
      if (place >= 0) ranks[one.folded === asked ? 0 : place > 0 ? 2 : 1].push(one);
    }
    const all = ranks.flat();
    this.found = all.slice(0, MOST_FOUND);
    this.more = all.length - MOST_FOUND;
    this.at = 0;
    this.draw();
  }

  draw() {
    const entries = this.found.map(({ number, name, colour }, i) => {
      const entry = make(
        "button",
        { className: "entry", title: name },
        swatch(colour),
        make("span", { textContent: name }),
        ...this.thumbs(number),
      );
      entry.dataset.place = String(i);
      entry.tabIndex = -1;
      entry.setAttribute("aria-current", String(i === this.at));
      return entry;
    });
    const more = this.more > 0 ? [make("p", { textContent: `and ${number(this.more)} more` })] : [];
    const nothing = this.found.length ? [] : [make("p", { textContent: "No class name contains this." })];
    this.list.replaceChildren(...entries, ...more, ...nothing);
  }

  type(e) {
    e.stopPropagation();
    if (e.isComposing) return; // Enter only ends the composition of a word
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (e.key === "Enter") this.answer(this.at);
    else if (e.key === "Escape") this.leave();
    else if (step && this.found.length) {
      this.at = (this.at + step + this.found.length) % this.found.length;
      this.draw();
    } else return;
    e.preventDefault();
  }

  answer(place) {
    const value = this.known ? this.found[place]?.number : this.input.value.trim();
    if (value === undefined || value === "") return;
    const { onAnswer } = this;
    this.leave();
    onAnswer(value);
  }

  leave() {
    this.root.hidden = true;
    this.root.replaceChildren();
    this.onLeave();
  }
}
