// Naming: a field for the name of each class, one below the other. Enter goes to the next.

class Naming {
  /**
   * @param {HTMLElement} root
   * @param {Classes} classes
   * @param {(number: number, name: string) => void} onName
   * @param {() => void} onLeave
   */
  constructor(root, classes, onName, onLeave) {
    this.root = root;
    this.classes = classes;
    this.onName = onName;
    this.onLeave = onLeave;
    /** @type {Map<number, string>} names on their way to the server */
    this.typed = new Map();
    root.addEventListener("keydown", (e) => this.type(e));
    root.addEventListener("focusout", (e) => this.keep(/** @type {HTMLInputElement} */ (e.target)));
  }

  get open() {
    return !this.root.hidden;
  }

  /** @returns {HTMLInputElement[]} */
  get fields() {
    return [...this.root.querySelectorAll("input")];
  }

  show() {
    this.typed.clear();
    this.root.replaceChildren(
      ...this.classes.list.map((one) => this.row(one)),
      make("div", { className: "words", textContent: "Enter keeps a name and goes to the next · Esc ends" }),
    );
    this.root.hidden = false;
    this.focus(this.fields[0]);
  }

  row({ number, name, colour }) {
    const field = make("input", { type: "text", value: name, maxLength: MOST_LETTERS, autocomplete: "off" });
    field.spellcheck = false;
    field.ariaLabel = `Name of ${name}`;
    field.dataset.number = String(number);
    return make("div", { className: "name-row" }, swatch(colour), field, ...this.classes.thumbs(number));
  }

  focus(field) {
    field.focus({ preventScroll: true });
    field.select();
    field.closest(".name-row").scrollIntoView({ block: "nearest" });
  }

  type(e) {
    e.stopPropagation();
    if (e.isComposing || !["Enter", "Escape"].includes(e.key)) return; // Tab moves by itself
    e.preventDefault();
    const { fields } = this;
    const at = fields.indexOf(e.target);
    if (e.key === "Escape") e.target.value = this.nameOf(Number(e.target.dataset.number));
    else this.keep(e.target);
    if (e.key === "Enter" && at + 1 < fields.length) this.focus(fields[at + 1]);
    else this.leave();
  }

  nameOf(number) {
    return this.typed.get(number) ?? this.classes.nameOf(number);
  }

  // Sends a name that is new; an empty field gets the old one back.
  keep(field) {
    const number = Number(field.dataset.number);
    const name = field.value.trim();
    if (!name) field.value = this.nameOf(number);
    if (!name || name === this.nameOf(number)) return;
    this.typed.set(number, name);
    this.onName(number, name);
  }

  // The server did not take a name.
  refused(number) {
    this.typed.delete(number);
    const field = this.fields.find((one) => one.dataset.number === String(number));
    if (field) field.value = this.classes.nameOf(number);
  }

  leave() {
    this.root.hidden = true;
    this.root.replaceChildren();
    this.onLeave();
  }
}
