// Classes: the classes an image can be given. The first and the recently used ones are shown as chips.

const MOST_CHIPS = 200;
const MOST_RECENT = 8;
const NO_COLOUR = "#8c8c8c";

class Classes {
  /**
   * @param {HTMLElement} root
   * @param {Keys} keys
   * @param {(number: number) => void} onChoose
   */
  constructor(root, keys, onChoose) {
    this.root = root;
    this.keys = keys;
    this.typical = new Typical();
    this.list = [];
    this.by = new Map();
    this.recent = [];
    this.coming = "";
    this.version = 0;
    root.addEventListener("click", (e) => {
      const chip = holder(e, ".chip");
      if (chip) onChoose(Number(chip.dataset.number));
    });
  }

  take(list) {
    const text = JSON.stringify(list);
    if (text === this.text) return;
    this.version++;
    this.text = text;
    this.list = list;
    this.by = new Map(list.map((one) => [one.number, one]));
    this.keys.take(list);
  }

  picture(typical) {
    if (this.typical.take(typical)) this.version++;
  }

  thumbs(number) {
    return this.typical.of(number);
  }

  nameOf(number) {
    if (number === COMING) return this.coming;
    return this.by.get(number)?.name ?? `Cluster ${number} (merged)`;
  }

  colourOf(number) {
    return this.by.get(number)?.colour ?? NO_COLOUR;
  }

  used(number) {
    this.recent = [number, ...this.recent.filter((one) => one !== number)].slice(0, MOST_RECENT);
  }

  get shown() {
    const first = this.list.slice(0, MOST_CHIPS);
    const there = new Set(first.map((one) => one.number));
    const more = this.recent.filter((one) => this.by.has(one) && !there.has(one)).map((one) => this.by.get(one));
    return [...first, ...more];
  }

  // `current`: the class of the current image.
  draw(current) {
    const { shown } = this;
    const text = [this.version, ...shown.map((one) => `${one.number} ${this.keyOf(one.number)}`)].join();
    if (this.drawn !== text) {
      this.drawn = text;
      this.root.replaceChildren(...shown.map((one) => this.chip(one)));
      const rest = this.list.length - shown.length;
      const more = `and ${several(rest, "class", "classes")} more: ${this.keys.textOf("find")} finds them`;
      if (rest > 0) this.root.append(make("p", { textContent: more }));
    }
    /** @type {NodeListOf<HTMLElement>} */
    const chips = this.root.querySelectorAll(".chip");
    for (const chip of chips) {
      chip.setAttribute("aria-pressed", String(Number(chip.dataset.number) === current));
    }
  }

  keyOf(number) {
    return this.keys.textOf(classCommand(number));
  }

  chip({ number, name, colour }) {
    const key = make("kbd", { textContent: this.keyOf(number) });
    const words = make("span", { textContent: name });
    const chip = make("button", { className: "chip", title: name }, key, swatch(colour), words, ...this.thumbs(number));
    chip.dataset.number = number;
    return chip;
  }
}

function swatch(colour) {
  const made = make("i", { className: "swatch" });
  made.style.background = colour;
  return made;
}
