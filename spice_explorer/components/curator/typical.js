// Typical: a few pictures of each class that show what it is. They are cut from sheets with the pictures of many
// classes; the browser fetches a sheet when one of its pictures comes into view.

class Typical {
  constructor() {
    this.ids = {};
    /** @type {Map<number, {sheet: any, place: number}>} */
    this.places = new Map();
  }

  // True if any picture is another than before.
  take(data) {
    const text = JSON.stringify(data);
    if (text === this.text) return false;
    this.text = text;
    this.ids = data.ids;
    this.places.clear();
    for (const sheet of data.sheets)
      for (const [place, id] of sheet.ids.entries()) this.places.set(id, { sheet, place });
    return true;
  }

  // The pictures of a class.
  of(number) {
    return (this.ids[number] ?? []).map((id) => this.cut(this.places.get(id)));
  }

  // All lengths are shares of the side of a picture. A picture fills a part of its cell, at the top left.
  cut({ sheet: { url, ids, columns, width, height, sizes }, place }) {
    const side = Math.max(width, height);
    const [wide, high] = sizes[place];
    const lengths = {
      wide: wide / side,
      high: high / side,
      left: ((place % columns) * -width) / side,
      top: (Math.floor(place / columns) * -height) / side,
      across: (columns * width) / side,
      down: (Math.ceil(ids.length / columns) * height) / side,
    };
    const image = make("img", { alt: "", draggable: false, loading: "lazy", src: url });
    const thumb = make("i", { className: "thumb" }, make("i", {}, image));
    for (const [name, share] of Object.entries(lengths)) thumb.style.setProperty(`--${name}`, String(share));
    return thumb;
  }
}
