// Card: the picture under the pointer, from a sheet of thumbnails, and its values in the columns. Where the pointer
// rests, the thumbnail of the whole photograph takes the picture's place.

const CARD_TILE = 72;
const CARD_PHOTOGRAPH = 150;
const LINGER_MS = 60;

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
    this.id = undefined;
    clearTimeout(this.resting);
  }

  show(i, x, y) {
    const { root, map } = this;
    root.style.display = "flex";
    this.at = [x, y];
    const id = map.idOf(i);
    this.id = id;
    this.picture(id);
    clearTimeout(this.resting);
    if (map.data.photographs) this.resting = setTimeout(() => this.photograph(id), LINGER_MS);
    this.describe(i);
    this.place();
  }

  place() {
    const { root, map } = this;
    const [x, y] = this.at;
    root.style.left = `${Math.min(x + 18, map.width - root.offsetWidth - 6)}px`;
    root.style.top = `${Math.min(y + 14, map.height - root.offsetHeight - 6)}px`;
  }

  picture(id) {
    const { sprites } = this.map.data;
    const place = id % sprites.each;
    const side = sprites.columns;
    const { style } = this.tile;
    this.tile.classList.toggle("sharp", sprites.sharp);
    delete this.tile.dataset.whole;
    [style.width, style.height] = ["", ""];
    style.backgroundImage = `url("${sprites.address}/${Math.floor(id / sprites.each)}.webp?v=${sprites.version}")`;
    style.backgroundSize = `${side * CARD_TILE}px auto`;
    style.backgroundPosition = `-${(place % side) * CARD_TILE}px -${Math.floor(place / side) * CARD_TILE}px`;
  }

  photograph(id) {
    const { start, end } = this.map.data.photographs;
    const image = new Image();
    image.onload = () => {
      if (this.id !== id) return;
      const { style, dataset } = this.tile;
      const { naturalWidth: wide, naturalHeight: high } = image;
      const share = CARD_PHOTOGRAPH / Math.max(wide, high);
      [style.width, style.height] = [`${wide * share}px`, `${high * share}px`];
      style.backgroundImage = `url("${image.src}")`;
      [style.backgroundSize, style.backgroundPosition] = ["100% 100%", "0 0"];
      dataset.whole = String(id);
      this.place();
    };
    image.src = `${start}${id}${end}`;
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
