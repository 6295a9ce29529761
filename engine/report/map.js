// The map of a report: every image as a point on a canvas, in the colour of its class or verdict, and the picture of
// the one under the pointer. The data is what engine/report/points.py packs.

const KINDS = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array };
const STEPS = 65535;
const EDGE = 14;
const REACH = 16; // pixels between the pointer and a point that it still finds
const NEARLY = 12; // within so many pixels, a point with a picture is found before a nearer one without
const ZOOM = 1.6;
const MOST_ZOOM = 60;
const SHARP = 32; // smaller pictures are scaled with sharp pixels
const COLOURINGS = { classes: "Class", verdicts: "Verdict" };

/** @type {(packed: {dtype: string, data: string}) => Uint8Array | Uint16Array | Uint32Array} */
const unpacked = ({ dtype, data }) => new KINDS[dtype](bytesOf(data).buffer);

class ReportMap {
  /**
   * @param {HTMLElement} root
   * @param {MapData} data
   */
  constructor(root, data) {
    this.points = unpacked(data.points);
    this.count = this.points.length / 2;
    this.classes = unpacked(data.classes);
    this.verdicts = data.verdicts && unpacked(data.verdicts);
    this.keys = { classes: data.legend, verdicts: data.reasons };
    this.names = data.names;
    this.sprite = data.sprite;
    this.places = new Int32Array(this.count).fill(-1);
    unpacked(data.pictured).forEach((point, place) => {
      this.places[point] = place;
    });
    this.colouring = "classes";
    this.alone = -1; // the one entry of the legend that is shown, -1 for all
    this.zoom = 1;
    this.middle = [0.5, 0.5];
    this.found = -1;
    this.build(root);
    this.load();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    window.addEventListener("beforeprint", () => this.draw());
  }

  build(root) {
    this.canvas = make("canvas", { tabIndex: 0 });
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `Map of ${number(this.count)} images`);
    this.picture = make("canvas", { className: "picture", hidden: true });
    this.title = make("b");
    this.words = make("span");
    this.card = make(
      "div",
      { className: "card-at", hidden: true },
      this.picture,
      make("div", {}, this.title, this.words),
    );
    this.plane = make("div", { className: "plane" }, this.canvas, this.card);
    this.legend = make("div", { className: "legend keys" });
    const kinds = Object.keys(COLOURINGS).filter((one) => this[one]);
    this.choices = kinds.map((one) =>
      make("button", { type: "button", textContent: COLOURINGS[one], onclick: () => this.colour(one) }),
    );
    const tool = (textContent, title, onclick) => {
      const made = make("button", { type: "button", textContent, title, onclick });
      made.setAttribute("aria-label", title);
      return made;
    };
    const tools = make(
      "div",
      { className: "tools" },
      kinds.length > 1 ? make("span", { className: "group" }, "Colour ", ...this.choices) : null,
      make(
        "span",
        { className: "group" },
        tool("+", "Zoom in", () => this.zoomed(ZOOM)),
        tool("−", "Zoom out", () => this.zoomed(1 / ZOOM)),
        tool("Whole map", "Show the whole map", () => this.zoomed(0)),
      ),
    );
    root.append(tools, this.plane, this.legend);
    this.listen();
    this.colour("classes");
  }

  listen() {
    this.canvas.addEventListener("pointermove", (e) => this.moved(e));
    this.canvas.addEventListener("pointerdown", (e) => {
      this.held = e;
      this.look(e);
    });
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
      this.canvas.addEventListener(end, (e) => {
        this.held = undefined;
        if (end === "pointerleave" && /** @type {PointerEvent} */ (e).pointerType === "mouse") this.show(-1);
      });
    }
    this.canvas.addEventListener("dblclick", (e) => this.zoomed(ZOOM * ZOOM, e));
  }

  load() {
    if (!this.sprite) return;
    this.sheet = new Image();
    this.sheet.onload = () => this.show(this.found);
    this.sheet.src = `data:image/webp;base64,${this.sprite.data}`;
  }

  // -- what is shown

  colour(one) {
    this.colouring = one;
    this.alone = -1;
    const kinds = Object.keys(COLOURINGS).filter((kind) => this[kind]);
    this.choices.forEach((button, place) => {
      button.setAttribute("aria-pressed", String(kinds[place] === one));
    });
    const counts = new Array(this.keys[one].length).fill(0);
    for (const value of this[one]) counts[value]++;
    this.legend.replaceChildren(...this.keys[one].map((key, place) => this.key(key, place, counts[place])));
    this.draw();
  }

  key({ name, colour }, place, count) {
    const dot = make("i");
    dot.style.background = colour;
    const button = make(
      "button",
      { type: "button", title: `Show only ${name}`, onclick: () => this.isolate(place) },
      dot,
      make("span", { textContent: name }),
      make("b", { textContent: number(count) }),
    );
    button.setAttribute("aria-pressed", "false");
    return button;
  }

  isolate(place) {
    this.alone = this.alone === place ? -1 : place;
    [...this.legend.children].forEach((button, at) => {
      button.setAttribute("aria-pressed", String(at === this.alone));
    });
    this.legend.classList.toggle("some", this.alone >= 0);
    this.draw();
  }

  zoomed(factor, e) {
    const before = this.zoom;
    this.zoom = factor ? clamp(this.zoom * factor, 1, MOST_ZOOM) : 1;
    if (e) {
      const kept = 1 - before / this.zoom;
      const [x, y] = this.shareAt(e.offsetX, e.offsetY, before);
      this.middle = [this.middle[0] + (x - this.middle[0]) * kept, this.middle[1] + (y - this.middle[1]) * kept];
    }
    this.keepInside();
    this.canvas.classList.toggle("near", this.zoom > 1);
    this.show(-1);
    this.draw();
  }

  keepInside() {
    const half = 0.5 / this.zoom;
    this.middle = this.middle.map((one) => clamp(one, half, 1 - half));
  }

  // -- places

  get side() {
    return Math.min(this.width, this.height) - 2 * EDGE;
  }

  // Where point i is drawn.
  at(i) {
    const scale = this.side * this.zoom;
    return [
      this.width / 2 + (this.points[2 * i] / STEPS - this.middle[0]) * scale,
      this.height / 2 - (this.points[2 * i + 1] / STEPS - this.middle[1]) * scale,
    ];
  }

  // Which place of the map, in shares of it, lies at these pixels.
  shareAt(x, y, zoom = this.zoom) {
    const scale = this.side * zoom;
    return [this.middle[0] + (x - this.width / 2) / scale, this.middle[1] - (y - this.height / 2) / scale];
  }

  // -- drawing

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width) return;
    const dense = Math.min(3, window.devicePixelRatio || 1);
    this.width = width;
    this.height = height;
    Object.assign(this.canvas, { width: Math.round(width * dense), height: Math.round(height * dense) });
    const pen = this.canvas.getContext("2d");
    pen.scale(dense, dense);
    const size = clamp((Math.sqrt((width * height) / Math.max(1, this.count)) / 3) * Math.sqrt(this.zoom), 1.4, 9);
    const values = this[this.colouring];
    this.keys[this.colouring].forEach(({ colour }, value) => {
      pen.fillStyle = colour;
      pen.globalAlpha = this.alone < 0 || this.alone === value ? 0.82 : 0.06;
      // Circles of thousands of points would be slow, and look like squares.
      for (let i = 0; i < this.count; i++) if (values[i] === value) this.dot(pen, i, size);
    });
    pen.globalAlpha = 1;
    if (this.found >= 0) this.ring(pen, this.found, size);
  }

  dot(pen, i, size) {
    const [x, y] = this.at(i);
    if (x < -size || y < -size || x > this.width + size || y > this.height + size) return;
    if (size < 3) {
      pen.fillRect(x - size / 2, y - size / 2, size, size);
      return;
    }
    pen.beginPath();
    pen.arc(x, y, size / 2, 0, 2 * Math.PI);
    pen.fill();
  }

  ring(pen, i, size) {
    const [x, y] = this.at(i);
    pen.strokeStyle = getComputedStyle(this.canvas).color;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(x, y, size / 2 + 4, 0, 2 * Math.PI);
    pen.stroke();
  }

  // -- the pointer

  moved(e) {
    if (this.held && this.zoom > 1) {
      const scale = this.side * this.zoom;
      this.middle = [
        this.middle[0] - (e.offsetX - this.held.offsetX) / scale,
        this.middle[1] + (e.offsetY - this.held.offsetY) / scale,
      ];
      this.held = e;
      this.keepInside();
      this.show(-1);
      this.draw();
      return;
    }
    this.look(e);
  }

  look(e) {
    const found = this.nearest(e.offsetX, e.offsetY);
    if (found === this.found) return;
    this.show(found);
    this.draw();
  }

  // The point under the pointer, one with a picture first; -1 for none.
  nearest(x, y) {
    let near = -1;
    let best = REACH * REACH;
    const values = this[this.colouring];
    for (let i = 0; i < this.count; i++) {
      if (this.alone >= 0 && values[i] !== this.alone) continue;
      const [px, py] = this.at(i);
      const far = (px - x) ** 2 + (py - y) ** 2 + (this.places[i] < 0 ? NEARLY * NEARLY : 0);
      if (far < best) [near, best] = [i, far];
    }
    return near;
  }

  show(found) {
    this.found = found;
    this.card.hidden = found < 0;
    if (found < 0) return;
    const place = this.places[found];
    const told = [this.keys.classes[this.classes[found]].name];
    if (this.verdicts) told.push(this.keys.verdicts[this.verdicts[found]].name);
    [this.title.textContent, this.words.textContent] = [told[0], told.slice(1).join(" · ")];
    this.words.append(make("small", { textContent: place < 0 ? "no picture in this report" : this.names[place] }));
    this.picture.hidden = place < 0 || !this.sheet?.complete;
    if (!this.picture.hidden) this.copy(place);
    const [x, y] = this.at(found);
    const left = x > this.width / 2;
    this.card.style.left = left ? "auto" : `${x + 14}px`;
    this.card.style.right = left ? `${this.width - x + 14}px` : "auto";
    this.card.style.maxWidth = `${Math.max(150, (left ? x : this.width - x) - 22)}px`;
    this.card.style.top = `${clamp(y - 40, 6, Math.max(6, this.height - this.card.offsetHeight - 6))}px`;
  }

  copy(place) {
    const { columns, width, height } = this.sprite;
    Object.assign(this.picture, { width, height });
    this.picture.classList.toggle("sharp", width <= SHARP);
    const [x, y] = [(place % columns) * width, Math.floor(place / columns) * height];
    this.picture.getContext("2d").drawImage(this.sheet, x, y, width, height, 0, 0, width, height);
  }
}

new ReportMap(document.getElementById("map"), JSON.parse(document.getElementById("data").textContent));

// On paper nothing can be opened.
window.addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details")) one.open = true;
});
