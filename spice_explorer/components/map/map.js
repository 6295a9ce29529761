// The map: points by WebGL 2, lasso, labels and hover card on a 2-D canvas above them.
// Positions are 16-bit integers on a square; a "view" is its centre and scale, here `camera`.

const VERTEX = `#version 300 es
in vec2 place; in vec4 colour; in float chosen;
uniform vec2 centre, scale; uniform float size, pass, dim;
out vec4 ink;
void main() {
  gl_Position = abs(chosen - pass) > 0.5 ? vec4(2.0, 2.0, 0.0, 1.0)
    : vec4((place - centre) * scale, 0.0, 1.0);
  gl_PointSize = size * (pass > 0.5 && dim > 0.5 ? 1.35 : 1.0);
  float alpha = dim > 0.5 && pass < 0.5 ? 0.1 : 0.88;
  ink = vec4(colour.rgb * alpha, alpha);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 ink; uniform float size; out vec4 result;
void main() {
  float far = length(gl_PointCoord - 0.5) * 2.0;
  result = ink * (1.0 - smoothstep(1.0 - 2.0 / max(size, 2.0), 1.0, far));
}`;
const SPAN = 65535, CELLS = 128, REACH = 12;

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const words = (text) => new Uint16Array(bytes(text).buffer);
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

function program(gl) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  gl.useProgram(made);
  return made;
}

class PointMap {
  constructor(root) {
    const find = (selector) => root.querySelector(selector);
    this.box = find(".map");
    [this.points, this.over] = [find(".points"), find(".over")];
    [this.card, this.tile, this.text] = [find(".card"), find(".tile"), find(".text")];
    this.status = find(".status");
    this.gl = this.points.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
    if (!this.gl) { find(".sorry").style.display = "flex"; return; }
    this.program = program(this.gl);
    this.buffers = {};
    this.camera = { x: SPAN / 2, y: SPAN / 2, zoom: 1 };
    this.names = new Map();
    this.listen(root);
    this.setMode("lasso");
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(this.box);
  }

  take(data, send) {
    this.send = send;
    if (!this.gl) return;
    const moved = this.key !== data.key;
    this.data = data;
    if (moved) {
      this.key = data.key;
      this.place = words(data.place);
      this.count = this.place.length / 2;
      this.index();
      this.upload("place", this.place, 2, this.gl.UNSIGNED_SHORT, false);
      this.names.clear();
    }
    this.ids = data.ids ? new Uint32Array(bytes(data.ids).buffer) : null;
    this.label = words(data.label);
    this.confidence = bytes(data.confidence);
    this.agreement = bytes(data.agreement);
    this.truth = data.truth ? words(data.truth) : null;
    this.paint();
    if (moved || this.version !== data.version) {
      this.version = data.version;
      this.chosen = this.unpack(data.selection);
    }
    this.choose(this.chosen, false);
  }

  paint() {
    const value = words(this.data.value), palette = this.data.palette.map(rgb);
    const colour = new Uint8Array(4 * this.count);
    for (let i = 0; i < this.count; i++) {
      colour.set(palette[value[i]], 4 * i);
      colour[4 * i + 3] = 255;
    }
    this.upload("colour", colour, 4, this.gl.UNSIGNED_BYTE, true);
  }

  upload(name, array, width, kind, normalised) {
    const gl = this.gl, slot = gl.getAttribLocation(this.program, name);
    this.buffers[name] ??= gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, array, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(slot);
    gl.vertexAttribPointer(slot, width, kind, normalised, 0, 0);
  }

  unpack(text) {
    const bits = text ? bytes(text) : new Uint8Array(0), out = new Uint8Array(this.count);
    for (let i = 0; i < this.count; i++) out[i] = (bits[i >> 3] >> (i & 7)) & 1;
    return out;
  }

  pack() {
    const bits = new Uint8Array(Math.ceil(this.count / 8));
    for (let i = 0; i < this.count; i++) bits[i >> 3] |= this.chosen[i] << (i & 7);
    let text = "";
    for (let i = 0; i < bits.length; i += 8192) {
      text += String.fromCharCode(...bits.subarray(i, i + 8192));
    }
    return btoa(text);
  }

  choose(chosen, tell) {
    this.chosen = chosen;
    this.chosenCount = chosen.reduce((sum, one) => sum + one, 0);
    this.upload("chosen", chosen, 1, this.gl.UNSIGNED_BYTE, false);
    this.draw();
    if (tell) this.send({ bits: this.pack(), count: this.chosenCount, drawn: this.count });
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.box.clientWidth;
    this.height = this.box.clientHeight;
    for (const canvas of [this.points, this.over]) {
      canvas.width = this.width * ratio;
      canvas.height = this.height * ratio;
    }
    this.draw();
  }

  // The axes of a map have no unit, so it may be wider than high to fill its frame.
  get scale() {
    const each = (pixels) => (pixels * 0.92 / SPAN) * this.camera.zoom;
    return [each(Math.min(this.width, 1.5 * this.height)), each(Math.min(this.height, 1.5 * this.width))];
  }

  toScreen(x, y) {
    const [sx, sy] = this.scale;
    return [(x - this.camera.x) * sx + this.width / 2, (this.camera.y - y) * sy + this.height / 2];
  }

  toMap(x, y) {
    const [sx, sy] = this.scale;
    return [(x - this.width / 2) / sx + this.camera.x, this.camera.y - (y - this.height / 2) / sy];
  }

  draw() {
    if (!this.pending) {
      this.pending = requestAnimationFrame(() => { this.pending = 0; this.drawNow(); });
    }
  }

  drawNow() {
    if (!this.count || !this.width) return;
    const gl = this.gl, ratio = window.devicePixelRatio || 1, [sx, sy] = this.scale;
    const uniform = (name) => gl.getUniformLocation(this.program, name);
    gl.viewport(0, 0, this.points.width, this.points.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.uniform2f(uniform("centre"), this.camera.x, this.camera.y);
    gl.uniform2f(uniform("scale"), (2 * sx) / this.width, (2 * sy) / this.height);
    const base = Math.min(6.5, Math.max(2.6, 300 / Math.sqrt(this.count)));
    gl.uniform1f(uniform("size"), base * Math.min(2.2, this.camera.zoom ** 0.35) * ratio);
    gl.uniform1f(uniform("dim"), this.chosenCount ? 1 : 0);
    for (const pass of [0, 1]) {
      gl.uniform1f(uniform("pass"), pass);
      gl.drawArrays(gl.POINTS, 0, this.count);
    }
    this.drawOver();
  }

  drawOver() {
    if (!this.count || !this.width) return;
    const ratio = window.devicePixelRatio || 1;
    const pen = this.over.getContext("2d"), style = getComputedStyle(this.box);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    pen.font = `600 13px ${style.fontFamily}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    for (const mark of this.data.marks) {
      const [x, y] = this.toScreen(mark.x, mark.y);
      pen.lineWidth = 4;
      pen.strokeStyle = style.backgroundColor;
      pen.strokeText(mark.text, x, y);
      pen.fillStyle = style.color;
      pen.fillText(mark.text, x, y);
    }
    pen.strokeStyle = style.color;
    pen.lineWidth = 1.5;
    if (this.hover !== undefined) {
      const [x, y] = this.toScreen(this.place[2 * this.hover], this.place[2 * this.hover + 1]);
      pen.beginPath();
      pen.arc(x, y, 7, 0, 7);
      pen.stroke();
    }
    if (this.path) {
      pen.setLineDash([5, 4]);
      pen.beginPath();
      for (const [x, y] of this.path) pen.lineTo(...this.toScreen(x, y));
      pen.closePath();
      pen.stroke();
      pen.setLineDash([]);
    }
    const some = this.chosenCount ? `${this.chosenCount.toLocaleString("en")} selected · ` : "";
    this.status.textContent = `${some}${this.count.toLocaleString("en")} images`;
  }

  index() {
    const start = new Uint32Array(CELLS * CELLS + 1), cell = new Uint32Array(this.count);
    for (let i = 0; i < this.count; i++) {
      cell[i] = (this.place[2 * i] * CELLS >> 16) + CELLS * (this.place[2 * i + 1] * CELLS >> 16);
      start[cell[i] + 1]++;
    }
    for (let c = 0; c < CELLS * CELLS; c++) start[c + 1] += start[c];
    const next = start.slice(), order = new Uint32Array(this.count);
    for (let i = 0; i < this.count; i++) order[next[cell[i]]++] = i;
    [this.start, this.order] = [start, order];
  }

  pick(sx, sy) {
    const [x, y] = this.toMap(sx, sy), [across, up] = this.scale.map((s) => REACH / s);
    const clamp = (v) => Math.min(CELLS - 1, Math.max(0, Math.floor(v * CELLS / (SPAN + 1))));
    let best = 1, found;
    for (let row = clamp(y - up); row <= clamp(y + up); row++) {
      const from = this.start[row * CELLS + clamp(x - across)];
      const to = this.start[row * CELLS + clamp(x + across) + 1];
      for (let k = from; k < to; k++) {
        const i = this.order[k];
        const far = ((this.place[2 * i] - x) / across) ** 2 + ((this.place[2 * i + 1] - y) / up) ** 2;
        if (far < best) [best, found] = [far, i];
      }
    }
    return found;
  }

  enclosed(path) {
    const xs = path.map((p) => p[0]), ys = path.map((p) => p[1]), out = new Uint8Array(this.count);
    const [left, right, low, high] =
      [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    for (let i = 0; i < this.count; i++) {
      const x = this.place[2 * i], y = this.place[2 * i + 1];
      if (x < left || x > right || y < low || y > high) continue;
      let inside = 0;
      for (let a = 0, b = path.length - 1; a < path.length; b = a++) {
        if (ys[a] > y !== ys[b] > y && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) inside ^= 1;
      }
      out[i] = inside;
    }
    return out;
  }

  setMode(mode) {
    this.mode = mode;
    this.box.classList.toggle("pan", mode === "pan");
    for (const button of this.box.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
  }

  home() { this.camera = { x: SPAN / 2, y: SPAN / 2, zoom: 1 }; this.draw(); }
  clear() { if (this.chosenCount) this.choose(new Uint8Array(this.count), true); }

  zoomAt(x, y, factor) {
    const before = this.toMap(x, y);
    this.camera.zoom = Math.min(200, Math.max(0.5, this.camera.zoom * factor));
    const after = this.toMap(x, y);
    this.camera.x += before[0] - after[0];
    this.camera.y += before[1] - after[1];
    this.draw();
  }

  listen() {
    const over = this.over, at = (e) => [e.offsetX, e.offsetY];
    this.box.addEventListener("click", (e) => {
      const { mode, act } = e.target.dataset ?? {};
      if (mode) this.setMode(mode);
      if (act) this[act]();
    });
    over.addEventListener("wheel", (e) => {
      e.preventDefault();
      this.zoomAt(...at(e), Math.exp(-e.deltaY * 0.0015));
    }, { passive: false });
    over.addEventListener("pointerdown", (e) => this.press(e, at(e)));
    over.addEventListener("pointermove", (e) => this.move(e, at(e)));
    over.addEventListener("pointerup", (e) => this.release(e, at(e)));
    over.addEventListener("pointerleave", () => this.point(undefined));
    over.addEventListener("dblclick", () => this.home());
    over.addEventListener("keydown", (e) => this.type(e));
  }

  press(e, [x, y]) {
    this.over.focus({ preventScroll: true });
    this.over.setPointerCapture(e.pointerId);
    this.from = [x, y];
    this.drag = this.mode === "pan" || e.button !== 0 ? "pan" : this.mode;
    if (this.drag !== "pan") this.path = [this.toMap(x, y)];
  }

  move(e, [x, y]) {
    if (!this.drag) return this.point(this.pick(x, y), x, y);
    this.point(undefined);
    const here = this.toMap(x, y);
    if (this.drag === "pan") {
      const [sx, sy] = this.scale;
      this.camera.x -= (x - this.from[0]) / sx;
      this.camera.y += (y - this.from[1]) / sy;
      this.from = [x, y];
      return this.draw();
    }
    if (this.drag === "lasso") {
      this.path.push(here);
    } else {
      const [a, b] = this.toMap(...this.from);
      this.path = [[a, b], [here[0], b], here, [a, here[1]]];
    }
    this.drawOver();
  }

  release(e, [x, y]) {
    const { drag, path } = this;
    this.drag = this.path = undefined;
    this.draw();
    if (drag === "pan" || !path) return;
    const still = Math.hypot(x - this.from[0], y - this.from[1]) < 4 && path.length < 6;
    const hit = this.pick(x, y);
    if (still && hit === undefined) return e.shiftKey ? undefined : this.clear();
    const found = still ? new Uint8Array(this.count) : this.enclosed(path);
    if (still) found[hit] = 1;
    this.choose(e.shiftKey ? found.map((one, i) => one | this.chosen[i]) : found, true);
  }

  type(e) {
    const step = 60 / this.scale[1], middle = [this.width / 2, this.height / 2];
    const acts = {
      Escape: () => this.clear(), 0: () => this.home(),
      "+": () => this.zoomAt(...middle, 1.25), "=": () => this.zoomAt(...middle, 1.25),
      "-": () => this.zoomAt(...middle, 0.8),
      ArrowLeft: () => { this.camera.x -= step; }, ArrowRight: () => { this.camera.x += step; },
      ArrowUp: () => { this.camera.y += step; }, ArrowDown: () => { this.camera.y -= step; },
    };
    if (!acts[e.key]) return;
    e.preventDefault();
    acts[e.key]();
    this.draw();
  }

  point(i, x, y) {
    if (i === this.hover) return;
    this.hover = i;
    this.drawOver();
    this.card.style.display = i === undefined ? "none" : "flex";
    if (i === undefined) return;
    const id = this.ids ? this.ids[i] : i;
    this.picture(id);
    this.describe(i, id);
    this.card.style.left = `${Math.min(x + 18, this.width - this.card.offsetWidth - 6)}px`;
    this.card.style.top = `${Math.min(y + 14, this.height - this.card.offsetHeight - 6)}px`;
  }

  picture(id) {
    const { sprites } = this.data, place = id % sprites.each, side = sprites.columns;
    const style = this.tile.style;
    this.tile.classList.toggle("sharp", sprites.sharp);
    style.backgroundImage = `url("${sprites.address}/${Math.floor(id / sprites.each)}.webp")`;
    style.backgroundSize = `${side * 72}px auto`;
    style.backgroundPosition = `-${(place % side) * 72}px -${Math.floor(place / side) * 72}px`;
  }

  async describe(i, id) {
    const { sprites } = this.data, sheet = Math.floor(id / sprites.each);
    const lines = [];
    if (this.label.length) lines.push(`cluster ${this.label[i]}`);
    if (this.confidence.length) {
      lines.push(`confidence ${(this.confidence[i] / 255).toFixed(2)}`);
      lines.push(`agreement ${(this.agreement[i] / 255).toFixed(2)}`);
    }
    if (this.truth) lines.push(`truth: ${this.data.classes[this.truth[i]]}`);
    this.text.textContent = lines.join("\n");
    if (!this.names.has(sheet)) {
      this.names.set(sheet, fetch(`${sprites.address}/${sheet}.json`).then((r) => r.json()));
    }
    const names = await this.names.get(sheet).catch(() => []);
    if (this.hover !== i) return;
    const title = document.createElement("b");
    title.textContent = `${names[id % sprites.each] ?? ""}\n`;
    this.text.prepend(title);
  }

  close() { this.watcher?.disconnect(); }
}

const maps = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  if (!maps.has(parentElement)) maps.set(parentElement, new PointMap(parentElement));
  const map = maps.get(parentElement);
  map.take(data, (selection) => setStateValue("selection", selection));
  return () => { map.close(); maps.delete(parentElement); };
}
