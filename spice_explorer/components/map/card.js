// Card: the picture under the pointer, from a sheet of thumbnails, and its values in the columns.

const CARD_TILE = 72;

class Card {
  /**
   * @param {HTMLElement} root
   * @param {ImageMap} map
   */
  constructor(root, map) {
    this.root = root;
    this.map = map;
    this.tile = part(root, ".tile");
    this.text = part(root, ".text");
    this.names = new Map();
  }

  hide() {
    this.root.style.display = "none";
  }

  show(i, x, y) {
    const { root, map } = this;
    root.style.display = "flex";
    this.picture(map.idOf(i));
    this.describe(i);
    root.style.left = `${Math.min(x + 18, map.width - root.offsetWidth - 6)}px`;
    root.style.top = `${Math.min(y + 14, map.height - root.offsetHeight - 6)}px`;
  }

  picture(id) {
    const { sprites } = this.map.data;
    const place = id % sprites.each;
    const side = sprites.columns;
    const { style } = this.tile;
    this.tile.classList.toggle("sharp", sprites.sharp);
    style.backgroundImage = `url("${sprites.address}/${Math.floor(id / sprites.each)}.webp?v=${sprites.version}")`;
    style.backgroundSize = `${side * CARD_TILE}px auto`;
    style.backgroundPosition = `-${(place % side) * CARD_TILE}px -${Math.floor(place / side) * CARD_TILE}px`;
  }

  async describe(i) {
    const { map } = this;
    const { sprites } = map.data;
    const specs = map.labels.columns;
    const id = map.idOf(i);
    const sheet = Math.floor(id / sprites.each);
    this.text.textContent = "";
    if (!this.names.has(sheet)) {
      const address = `${sprites.address}/${sheet}.json?v=${sprites.version}`;
      this.names.set(
        sheet,
        fetch(address)
          .then((answer) => answer.json())
          .catch(() => []),
      );
    }
    const [names, ...values] = await Promise.all([this.names.get(sheet), ...specs.map((one) => map.values(one))]);
    if (map.hover !== i) return;
    const lines = specs.map((spec, s) => `${spec.title}: ${this.read(spec, values[s][i])}`);
    this.text.replaceChildren(make("b", { textContent: `${names[id % sprites.each] ?? ""}\n` }), lines.join("\n"));
  }

  read(spec, value) {
    if (spec.kind === "category") return spec.names?.[value] ?? value;
    if (Number.isNaN(value)) return "–";
    return spec.kind === "number" ? +value.toPrecision(4) : value.toFixed(3);
  }
}
