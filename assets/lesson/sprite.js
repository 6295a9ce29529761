// Sprite: many small pictures in one image, row by row, and the cells that show them.

const SHARP = 32; // smaller pictures are scaled with sharp pixels

class Sprite {
  /**
   * @param {{data: string, columns: number}} sprite as engine/lesson/bundle.py writes it
   * @param {number} count
   */
  constructor({ data, columns }, count) {
    this.columns = columns;
    this.count = count;
    this.rows = Math.ceil(count / columns);
    const kind = data.startsWith("iVBOR") ? "png" : "webp";
    this.url = data.startsWith("data:") ? data : `data:image/${kind};base64,${data}`;
    this.image = new Image();
    this.ready = new Promise((done) => {
      this.image.onload = this.image.onerror = done;
    });
    this.image.src = this.url;
    this.ready.then(() => this.measure());
  }

  measure() {
    this.width = this.image.naturalWidth / this.columns;
    this.height = this.image.naturalHeight / this.rows;
    // One blob URL for hundreds of cells: a long data URL would be decoded again for each.
    const [kind, base64] = this.url.split(";base64,");
    this.url = URL.createObjectURL(new Blob([bytesOf(base64)], { type: kind.slice(5) }));
  }

  get sharp() {
    return this.width <= SHARP;
  }
  get ratio() {
    return this.width ? this.height / this.width : 1;
  }

  // Shows picture `place` in an element whose style gives its size, now or once the sprite is decoded.
  fill(cell, place) {
    cell.dataset.place = place;
    if (!this.width) {
      this.ready.then(() => Number(cell.dataset.place) === place && this.width && this.fill(cell, place));
      return cell;
    }
    const column = place % this.columns;
    const row = Math.floor(place / this.columns);
    const part = (at, of) => (of > 1 ? `${(100 * at) / (of - 1)}%` : "0");
    Object.assign(cell.style, {
      backgroundImage: `url("${this.url}")`,
      backgroundSize: `${100 * this.columns}% ${100 * this.rows}%`,
      backgroundPosition: `${part(column, this.columns)} ${part(row, this.rows)}`,
      imageRendering: this.sharp ? "pixelated" : "auto",
    });
    // Pictures that are not square are fitted into a square cell.
    if (this.ratio < 1) cell.style.height = `calc(var(--cell) * ${this.ratio})`;
    if (this.ratio > 1) cell.style.width = `calc(var(--cell) / ${this.ratio})`;
    return cell;
  }

  cell(place, title = "") {
    const made = make("i", { className: "cell", title });
    made.setAttribute("role", "img");
    if (title) made.setAttribute("aria-label", title);
    return this.fill(made, place);
  }

  close() {
    if (this.url.startsWith("blob:")) URL.revokeObjectURL(this.url);
  }
}
