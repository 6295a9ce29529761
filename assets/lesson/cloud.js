// Cloud: every image as a point on a 2D canvas, coloured by cluster; shows the picture under the pointer.

const CLOUD_EDGE = 10;
const REACH = 14;

class Cloud {
  /** @param {Bundle} bundle */
  constructor(bundle) {
    this.bundle = bundle;
    this.canvas = make("canvas", { className: "cloud" });
    this.canvas.setAttribute("aria-label", "Map: every image as a point");
    this.picture = make("i", { className: "cell" });
    this.words = text("span", "", "");
    this.card = make("div", { className: "card", hidden: true }, this.picture, this.words);
    this.root = make("div", { className: "plane" }, this.canvas, this.card);
    this.canvas.addEventListener("pointermove", (e) => this.hover(e));
    this.canvas.addEventListener("pointerleave", () => {
      this.card.hidden = true;
    });
    fitted(this.canvas, () => this.draw());
    this.root.close = () => this.canvas.close();
  }

  // Shows the points a `share` of the way between `from` and `to` (flat x, y in 0 to 1).
  show(from, to, share, labels, confidence) {
    this.from = from;
    this.to = to;
    this.share = share;
    this.labels = labels;
    this.confidence = confidence;
    this.draw();
  }

  at(i) {
    const { from, to, share, width, height } = this;
    const mix = (k) => from[k] + (to[k] - from[k]) * share;
    return [
      CLOUD_EDGE + mix(2 * i) * (width - 2 * CLOUD_EDGE),
      CLOUD_EDGE + (1 - mix(2 * i + 1)) * (height - 2 * CLOUD_EDGE),
    ];
  }

  draw() {
    if (!this.from || !this.canvas.clientWidth) return;
    const { pen, width, height } = penOf(this.canvas);
    const count = this.from.length / 2;
    this.width = width;
    this.height = height;
    const side = clamp(Math.sqrt((width * height) / count) / 3, 2.5, 7);
    // Draw colour by colour: changing the colour is slower than drawing a point.
    const groups = new Map();
    for (let i = 0; i < count; i++) {
      const label = this.labels ? this.labels[i] % CLUSTERS.length : -1;
      if (!groups.has(label)) groups.set(label, []);
      groups.get(label).push(i);
    }
    pen.globalAlpha = 0.85;
    for (const [label, members] of groups) {
      pen.fillStyle = colourOf(label);
      for (const i of members) {
        const [x, y] = this.at(i);
        const own = this.confidence ? side * (0.55 + 0.45 * (this.confidence[i] / 255)) : side;
        pen.fillRect(x - own / 2, y - own / 2, own, own);
      }
    }
    pen.globalAlpha = 1;
  }

  hover({ offsetX, offsetY }) {
    if (!this.width) return;
    let near = -1;
    let best = REACH * REACH;
    for (let i = 0; i < this.from.length / 2; i++) {
      const [x, y] = this.at(i);
      const far = (x - offsetX) ** 2 + (y - offsetY) ** 2;
      if (far < best) [near, best] = [i, far];
    }
    this.card.hidden = near < 0;
    if (near < 0) return;
    const [x, y] = this.at(near);
    const label = this.labels ? ` · cluster ${this.labels[near]}` : "";
    this.bundle.sheet.fill(this.picture, near);
    this.words.textContent = `${this.bundle.nameOf(near)}${label}`;
    Object.assign(
      this.card.style,
      x > this.width / 2 ? { left: "auto", right: `${this.width - x + 12}px` } : { left: `${x + 12}px`, right: "auto" },
    );
    this.card.style.top = `${clamp(y - 36, 0, Math.max(0, this.height - 76))}px`;
  }
}
