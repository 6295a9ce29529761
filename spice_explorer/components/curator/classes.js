// Classes: the classes an image can be given. The first and the recently used ones are shown as chips.

const MOST_CHIPS = 30;
const MOST_RECENT = 8;
// With more classes than this, their buttons have no room for pictures.
const MOST_PICTURED = 16;
const NO_COLOUR = "#8c8c8c";

class Classes {
  /**
   * @param {HTMLElement} root
   * @param {Keys} keys
   * @param {Pictures} pictures
   * @param {(number: number) => void} onChoose
   */
  constructor(root, keys, pictures, onChoose) {
    this.root = root;
    this.keys = keys;
    this.pictures = pictures;
    this.typical = {};
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

  // typical: for each class, some images that show what it is.
  picture(typical) {
    const text = JSON.stringify(typical);
    if (text === this.pictured) return;
    this.version++;
    this.pictured = text;
    this.typical = typical;
  }

  thumbs(number) {
    const ids = this.typical[number] ?? [];
    return ids.map((id) =>
      make("img", { className: "thumb", alt: "", draggable: false, src: this.pictures.thumb(id) }),
    );
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
      this.root.classList.toggle("many", this.list.length > MOST_PICTURED);
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
    const thumbs = this.list.length > MOST_PICTURED ? [] : this.thumbs(number);
    const chip = make("button", { className: "chip", title: name }, key, swatch(colour), words, ...thumbs);
    chip.dataset.number = number;
    return chip;
  }
}

function swatch(colour) {
  const made = make("i", { className: "swatch" });
  made.style.background = colour;
  return made;
}
