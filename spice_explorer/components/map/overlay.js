// Overlay: everything above the points: cluster numbers, trails, the open image, the lasso.

const MOST_NUMBERED = 120;
const MOST_TRAILS = 300;
const NUMBERED_SAMPLE = 20000;
// Longer names would cover other clusters; the legend has them whole.
const MOST_NAME_LETTERS = 18;

const shortened = (name) => (name.length > MOST_NAME_LETTERS ? `${name.slice(0, MOST_NAME_LETTERS - 1)}…` : name);

class Overlay {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {ImageMap} map
   */
  constructor(canvas, map) {
    this.canvas = canvas;
    this.map = map;
  }

  draw() {
    const { map } = this;
    const ratio = window.devicePixelRatio || 1;
    const style = getComputedStyle(map.box);
    const pen = this.canvas.getContext("2d");
    this.pen = pen;
    this.font = style.fontFamily;
    this.colour = (name) => style.getPropertyValue(`--st-${name}`);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, map.width, map.height);
    if (!map.gliding) {
      if (map.trailed && map.replay.trails.checked) this.trails();
      this.numbers();
    }
    this.open();
    if (map.hands.path) this.path();
    if (map.hover !== undefined) this.ring(map.hover, 6, 2, this.colour("text-color"));
  }

  // Halfway between the text colour and grey, 0-1 each: for points that are only context.
  grey() {
    const pen = this.canvas.getContext("2d");
    pen.fillStyle = getComputedStyle(this.map.box).getPropertyValue("--st-text-color");
    const hex = String(pen.fillStyle);
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255);
    return [r, g, b].map((one) => 0.5 * one + 0.27);
  }

  at(i, place = this.map.place) {
    return this.map.toScreen(place[2 * i], place[2 * i + 1]);
  }

  ring(i, radius, width, colour) {
    const { pen } = this;
    pen.lineWidth = width;
    pen.strokeStyle = colour;
    pen.beginPath();
    pen.arc(...this.at(i), radius, 0, 7);
    pen.stroke();
  }

  /**
   * @param {Pair} from
   * @param {Pair} to
   */
  line(from, to) {
    this.pen.beginPath();
    this.pen.moveTo(...from);
    this.pen.lineTo(...to);
    this.pen.stroke();
  }

  // The positions of cluster numbers: the middle of a sample of each cluster.
  middles() {
    const { label, place, data } = this.map;
    const members = new Map();
    if (!label) return [];
    for (let i = 0; i < label.length; i += Math.max(1, Math.floor(data.n / NUMBERED_SAMPLE))) {
      if (!members.has(label[i])) members.set(label[i], []);
      members.get(label[i]).push(i);
    }
    if (members.size > MOST_NUMBERED) return [];
    const middle = (values) => values.sort((a, b) => a - b)[values.length >> 1];
    const { names } = this.map.columnOf("cluster");
    return [...members].map(([k, ids]) => ({
      text: shortened(names?.[k] ?? String(k)),
      x: middle(ids.map((i) => place[2 * i])),
      y: middle(ids.map((i) => place[2 * i + 1])),
    }));
  }

  numbers() {
    const { pen, map } = this;
    map.numbers ??= this.middles();
    pen.font = `600 13px ${this.font}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    for (const { text, x, y } of map.numbers) {
      const at = map.toScreen(x, y);
      pen.lineWidth = 4;
      pen.strokeStyle = this.colour("background-color");
      pen.strokeText(text, ...at);
      pen.fillStyle = this.colour("text-color");
      pen.fillText(text, ...at);
    }
  }

  // Trails from the frame before, for the selected images or those that moved most.
  trails() {
    const { pen, map } = this;
    const { place, trailed, spec, shown } = map;
    const { n } = map.data;
    const far = new Float32Array(n);
    for (let i = 0; i < n; i++) {
      if (map.chosenCount && !map.chosen[i]) continue;
      far[i] = (place[2 * i] - trailed[2 * i]) ** 2 + (place[2 * i + 1] - trailed[2 * i + 1]) ** 2;
    }
    const least = Math.max(1, far.slice().sort()[Math.max(0, n - MOST_TRAILS)]);
    const palette = spec.kind === "category" ? spec.palette : undefined;
    pen.lineWidth = 1;
    pen.globalAlpha = 0.55;
    for (let i = 0; i < n; i++) {
      if (far[i] < least) continue;
      pen.strokeStyle = palette?.[shown[i] % palette.length] ?? "#808080";
      this.line(this.at(i, trailed), this.at(i));
    }
    pen.globalAlpha = 1;
  }

  // The image whose panel is open, with lines to its neighbours.
  open() {
    const { pen, map } = this;
    const open = map.indexOf(map.data.open);
    if (open === undefined) return;
    pen.globalAlpha = 0.35;
    pen.strokeStyle = this.colour("text-color");
    pen.lineWidth = 1;
    for (const id of map.data.near) {
      const i = map.indexOf(id);
      if (i !== undefined) this.line(this.at(open), this.at(i));
    }
    pen.globalAlpha = 1;
    this.ring(open, 8, 3, this.colour("primary-color"));
  }

  path() {
    const { pen, map } = this;
    pen.lineWidth = 1.5;
    pen.strokeStyle = pen.fillStyle = this.colour("primary-color");
    pen.beginPath();
    for (const [x, y] of map.hands.path) pen.lineTo(...map.toScreen(x, y));
    pen.closePath();
    pen.stroke();
    pen.globalAlpha = 0.12;
    pen.fill();
    pen.globalAlpha = 1;
  }
}
