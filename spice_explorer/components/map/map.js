// The map: points below, and a second canvas above them for numbers, trails and the lasso.
// Whatever changes is either told by the server (`take`) or chosen here; both end in `load`.

const SPAN = 65535, HOME_ZOOM = 1.5, REACH = 12;
const GLIDE_MS = 550, REST_MS = 160, KEEP_MS = 250, LATE_MS = 400;

class ImageMap {
  constructor(root) {
    const find = (selector) => root.querySelector(selector);
    Object.assign(this, {
      box: find(".map"), stage: find(".stage"), over: find(".over"), status: find(".status"),
      sorry: find(".sorry"),
      colourMenu: find(".colour"), stageMenu: find(".labels"), replayButton: find("[data-act=replay]"),
    });
    this.points = new Points(find(".points"));
    if (!this.points.gl) { this.complain("The map needs WebGL 2, which this browser does not support."); return; }
    this.camera = { x: SPAN / 2, y: SPAN / 2, zoom: HOME_ZOOM };
    this.filters = new Map();
    this.overlay = new Overlay(this.over, this);
    this.card = new Card(find(".card"), this);
    this.legend = new Legend(find(".legend"), (...about) => this.filter(...about), (...about) => this.judge(...about));
    this.replay = new Replay(find(".replay"), (frame) => this.show(frame));
    this.listen();
    this.setMode("lasso");
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(this.stage);
  }

  complain(text) {
    this.sorry.textContent = text;
    this.sorry.style.display = text ? "flex" : "none";
  }

  // -- what the server tells --------------------------------------------------------------------

  take(data, tell) {
    this.tell = tell;
    if (!this.points.gl) return;
    const fresh = this.data?.key !== data.key, { selection, open, near, ...rest } = data;
    const text = JSON.stringify(rest), known = this.told === text;
    this.data = data;
    this.told = text;
    if (known) return this.drawOver(); // what was selected or opened here is shown already
    if (fresh) this.begin();
    if (fresh || this.version !== data.version) {
      this.version = data.version;
      this.chosen = fromBits(data.selection, data.n);
    }
    this.menus();
    this.replay.take(data.frames, data.frameNote);
    this.replayButton.style.display = data.frames.length > 1 ? "" : "none";
    if (fresh && this.wanted.frame !== undefined && data.frames.length > 1) {
      this.replayButton.setAttribute("aria-pressed", "true");
      this.replay.open(this.wanted.frame);
      this.tell("replay", true);
    }
    this.load(true);
    this.keep();
  }

  // Another run, or the same one made anew: nothing that was known of the old one holds.
  begin() {
    this.card.names.clear();
    this.filters.clear();
    this.place = this.judged = this.hover = this.sifted = this.places = undefined;
    this.wanted = this.remembered();
    if (this.wanted.camera) this.camera = this.wanted.camera;
    for (const [key, filter] of this.wanted.filters) this.filters.set(key, filter);
  }

  menus() {
    const { stages } = this.data;
    this.labels = stages.find((one) => one.key === this.wanted.stage) ?? stages[0];
    const { columns } = this.labels;
    this.spec = columns.find((one) => one.key === this.wanted.colour) ?? columns[0];
    const fill = (menu, options, chosen) => {
      const text = options.map((one) => one.key + one.title).join();
      if (menu.dataset.text !== text) {
        menu.replaceChildren(...options.map((one) => make("option", { value: one.key, textContent: one.title })));
        menu.dataset.text = text;
      }
      menu.value = chosen.key;
    };
    fill(this.colourMenu, columns, this.spec);
    fill(this.stageMenu, stages, this.labels);
    this.stageMenu.parentElement.style.display = stages.length > 1 ? "" : "none";
  }

  // -- from the state to the screen -------------------------------------------------------------

  get frame() { return this.data.frames[this.replay.at]; }

  columnOf(key) { return this.labels.columns.find((one) => one.key === key); }

  // The values of a column: a frame has labels of its own, and verdicts follow from thresholds.
  async values(spec) {
    if (spec.key === "cluster" && this.frame?.label) return column(this.frame.label);
    if (!spec.own) return column(spec.column);
    const [label, confidence, agreement] =
      await Promise.all([spec.label, spec.confidence, spec.agreement].map(column));
    const asked = this.judged, sure = Math.fround(asked ? asked.confidence : spec.own.confidence);
    const one = asked ? Math.fround(asked.agreement) : 0, each = Float32Array.from(spec.own.agreement);
    return label.map((k, i) => (agreement[i] < (asked ? one : each[k])) + 2 * (confidence[i] < sure));
  }

  // Brings everything that is to be seen, and then shows all of it at once.
  async load(rebuild) {
    const ticket = this.ticket = (this.ticket ?? 0) + 1;
    const late = setTimeout(() => { if (ticket === this.ticket && !this.place) this.complain("Loading the map …"); }, LATE_MS);
    const { data, spec, frame } = this, cluster = this.columnOf("cluster");
    const filters = [...this.filters].filter(([key]) => this.columnOf(key));
    try {
      const [place, ids, label, values, ...filtered] = await Promise.all([
        column(frame?.place ?? data.place), data.ids ? column(data.ids) : null,
        cluster ? this.values(cluster) : null, this.values(spec),
        ...filters.map(([key]) => this.values(this.columnOf(key))),
      ]);
      if (ticket !== this.ticket) return;
      if (place.length !== 2 * data.n) throw new Error("the map has changed: reload the page");
      if (label !== this.label) this.numbers = undefined;
      Object.assign(this, { ids, label, shown: values });
      this.sift(filters, filtered);
      this.settle(place);
      this.points.paint(new Uint8Array(painted(spec, values).buffer));
      this.draw();
      if (rebuild) this.legend.show(this.described(spec), values, this.filters.get(spec.key));
      else this.legend.count(values, !this.judged);
      this.complain("");
    } catch (error) {
      if (ticket === this.ticket) this.complain(`The map could not be loaded (${error.message}).`);
    } finally {
      clearTimeout(late);
    }
  }

  // Marks what passes the filters and what is selected, where one of them is not as it was.
  sift(filters, values) {
    const now = [this.chosen, ...filters.map(([, filter]) => filter), ...values];
    if (this.sifted?.length === now.length && now.every((one, i) => one === this.sifted[i])) return;
    this.sifted = now;
    this.seen = new Uint8Array(this.data.n).fill(1);
    filters.forEach(([key, filter], i) => passing(this.columnOf(key), values[i], filter, this.seen));
    this.mark();
  }

  described(spec) {
    if (!spec.own) return spec;
    const now = this.judged ?? { agreement: spec.own.asked, confidence: spec.own.confidence };
    return { ...spec, thresholds: { ...now, own: !this.judged } };
  }

  // Takes new places; those of another moment are reached by gliding.
  settle(place) {
    if (place === this.place) return;
    const before = this.place?.length === place.length ? this.place : undefined;
    this.points.move(place, before);
    this.place = place;
    this.grid = this.numbers = undefined;
    this.trailed = this.replay.at === undefined ? undefined : before;
    this.gliding = before ? performance.now() : undefined;
    this.draw();
  }

  mark() {
    const { chosen, seen } = this, some = chosen.includes(1), marks = new Uint8Array(seen.length);
    let number = 0;
    for (let i = 0; i < marks.length; i++) {
      number += chosen[i];
      marks[i] = chosen[i] ? CHOSEN : seen[i] && !some ? SHOWN : REST;
    }
    this.chosenCount = number;
    this.numbers = undefined;
    this.points.mark(marks);
    this.draw();
  }

  choose(chosen) {
    this.chosen = chosen;
    this.tell("selection", { bits: toBits(chosen), drawn: chosen.length });
    requestAnimationFrame(() => this.mark()); // the server need not wait for it
  }

  filter(key, filter, rebuild = true) {
    if (filter) this.filters.set(key, filter); else this.filters.delete(key);
    this.load(rebuild);
    this.keep();
  }

  judge(thresholds, rebuild = false) {
    this.judged = thresholds;
    this.load(rebuild);
  }

  show(frame) {
    this.wanted.frame = frame;
    this.trailed = undefined;
    if (frame !== undefined && this.data.frames[frame + 1]) column(this.data.frames[frame + 1].place);
    this.load(true);
    this.keep();
  }

  // -- drawing ----------------------------------------------------------------------------------

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.stage.clientWidth;
    this.height = this.stage.clientHeight;
    for (const canvas of [this.points.canvas, this.over]) {
      canvas.width = this.width * ratio;
      canvas.height = this.height * ratio;
    }
    this.draw();
  }

  // The axes of a map have no unit, so it may be wider than high to fill its frame.
  get scale() {
    const each = (pixels) => (pixels * 0.88 / SPAN) * this.camera.zoom;
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
    this.pending ||= requestAnimationFrame(() => { this.pending = 0; this.drawNow(); });
  }

  drawNow() {
    if (!this.place || !this.width) return;
    const way = this.gliding ? Math.min(1, (performance.now() - this.gliding) / GLIDE_MS) : 1;
    if (way === 1) this.gliding = undefined; else this.draw();
    const ratio = window.devicePixelRatio || 1, [sx, sy] = this.scale;
    const base = clamp(300 / Math.sqrt(this.data.n), 1.8, 6.5);
    this.points.draw({
      centre: [this.camera.x, this.camera.y], scale: [(2 * sx) / this.width, (2 * sy) / this.height],
      size: base * Math.min(2.4, (this.camera.zoom / HOME_ZOOM) ** 0.35) * ratio,
      grey: this.overlay.grey(), way: 1 - (1 - way) ** 3, moving: this.moving || way < 1,
    });
    this.drawOver();
    Object.assign(this.box.dataset, {
      drawn: this.data.n, colour: this.spec.key, selected: this.chosenCount,
      zoom: (this.camera.zoom / HOME_ZOOM).toFixed(3), moment: this.replay.at ?? "",
    });
  }

  drawOver() {
    if (!this.place || !this.width) return;
    this.overlay.draw();
    this.status.textContent = this.words();
  }

  words() {
    const parts = [this.data.note || `${count(this.data.n)} images`];
    if (this.filters.size) parts.push(`${count(this.seen.reduce((sum, one) => sum + one, 0))} pass the filter`);
    if (this.chosenCount) parts.push(`${count(this.chosenCount)} selected`);
    return parts.join(" · ");
  }

  indexOf(id) {
    if (id === null || id === undefined) return undefined;
    if (!this.ids) return id < this.data.n ? id : undefined;
    this.places ??= new Map(Array.from(this.ids, (one, i) => [one, i]));
    return this.places.get(id);
  }

  // -- what a person does -----------------------------------------------------------------------

  setMode(mode) {
    this.mode = mode;
    this.box.classList.toggle("pan", mode === "pan");
    for (const button of this.box.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
  }

  home() {
    this.camera = { x: SPAN / 2, y: SPAN / 2, zoom: HOME_ZOOM };
    this.move();
  }

  clear() { if (this.chosenCount) this.choose(new Uint8Array(this.data.n)); }

  toggleReplay() {
    const open = this.replay.at === undefined;
    this.replayButton.setAttribute("aria-pressed", String(open));
    if (open) this.replay.open(this.wanted.frame); else this.replay.close();
    this.tell("replay", open);
  }

  // The camera has moved: draw roughly now and fully once it rests.
  move() {
    this.moving = true;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => { this.moving = false; this.draw(); }, REST_MS);
    this.draw();
    this.keep();
  }

  zoomAt(x, y, factor) {
    const before = this.toMap(x, y);
    this.camera.zoom = clamp(this.camera.zoom * factor, 0.5 * HOME_ZOOM, 300 * HOME_ZOOM);
    const after = this.toMap(x, y);
    this.camera.x += before[0] - after[0];
    this.camera.y += before[1] - after[1];
    this.move();
  }

  listen() {
    const { over } = this, at = (e) => [e.offsetX, e.offsetY];
    const acts = { home: () => this.home(), clear: () => this.clear(), replay: () => this.toggleReplay() };
    this.box.addEventListener("click", (e) => {
      const { mode, act } = e.target.dataset ?? {};
      if (mode) this.setMode(mode);
      if (act) acts[act]();
    });
    this.colourMenu.addEventListener("change", () => { this.wanted.colour = this.colourMenu.value; this.again(); });
    this.stageMenu.addEventListener("change", () => { this.wanted.stage = this.stageMenu.value; this.again(); });
    over.addEventListener("wheel", (e) => {
      e.preventDefault();
      this.zoomAt(...at(e), Math.exp(-e.deltaY * 0.0015));
    }, { passive: false });
    over.addEventListener("pointerdown", (e) => this.press(e, at(e)));
    over.addEventListener("pointermove", (e) => this.drag(e, at(e)));
    over.addEventListener("pointerup", (e) => this.release(e, at(e)));
    over.addEventListener("pointerleave", () => this.point(undefined));
    over.addEventListener("dblclick", () => this.home());
    over.addEventListener("keydown", (e) => this.type(e));
  }

  again() {
    this.menus();
    this.load(true);
    this.keep();
  }

  press(e, [x, y]) {
    if (!this.place) return;
    this.over.focus({ preventScroll: true });
    this.over.setPointerCapture(e.pointerId);
    this.from = this.last = [x, y];
    this.dragging = this.mode === "pan" || e.button !== 0 ? "pan" : this.mode;
    if (this.dragging !== "pan") this.path = [this.toMap(x, y)];
  }

  drag(e, [x, y]) {
    if (!this.place) return;
    if (!this.dragging) return this.point(this.under(x, y), x, y);
    this.point(undefined);
    const here = this.toMap(x, y);
    if (this.dragging === "pan") {
      const [sx, sy] = this.scale;
      this.camera.x -= (x - this.last[0]) / sx;
      this.camera.y += (y - this.last[1]) / sy;
      this.last = [x, y];
      return this.move();
    }
    if (this.dragging === "lasso") {
      this.path.push(here);
    } else {
      const [a, b] = this.toMap(...this.from);
      this.path = [[a, b], [here[0], b], here, [a, here[1]]];
    }
    this.drawOver();
  }

  release(e, [x, y]) {
    const { dragging, path } = this;
    if (!dragging) return;
    this.dragging = this.path = undefined;
    this.draw();
    if (Math.hypot(x - this.from[0], y - this.from[1]) < 4 && !(path?.length > 6)) return this.click(e, x, y);
    if (!path) return;
    const found = this.search.inside(path, this.seen);
    this.choose(e.shiftKey ? found.map((one, i) => one | this.chosen[i]) : found);
  }

  // A click opens an image; with Shift it adds the image to the selection or takes it out.
  click(e, x, y) {
    const hit = this.under(x, y);
    if (hit === undefined) return;
    if (!e.shiftKey) return this.tell("opened", { id: this.idOf(hit), at: Date.now() });
    const next = this.chosen.slice();
    next[hit] ^= 1;
    this.choose(next);
  }

  get search() { return this.grid ??= new Grid(this.place); }

  idOf(i) { return this.ids ? this.ids[i] : i; }

  under(x, y) {
    const [across, up] = this.scale.map((s) => REACH / s);
    return this.search.nearest(...this.toMap(x, y), across, up, this.seen);
  }

  type(e) {
    const step = 60 / this.scale[1], middle = [this.width / 2, this.height / 2];
    const acts = {
      Escape: () => this.clear(), 0: () => this.home(),
      "+": () => this.zoomAt(...middle, 1.25), "=": () => this.zoomAt(...middle, 1.25),
      "-": () => this.zoomAt(...middle, 0.8),
      ArrowLeft: () => { this.camera.x -= step; this.move(); },
      ArrowRight: () => { this.camera.x += step; this.move(); },
      ArrowUp: () => { this.camera.y += step; this.move(); },
      ArrowDown: () => { this.camera.y -= step; this.move(); },
    };
    if (!acts[e.key] || (e.key === "Escape" && !this.chosenCount)) return;
    e.preventDefault();
    e.stopPropagation(); // Escape closes the image's panel too, when there is nothing to clear
    acts[e.key]();
  }

  // The pointer is over point i, or over none.
  point(i, x, y) {
    if (i === this.hover) return;
    this.hover = i;
    this.drawOver();
    if (i === undefined) this.card.hide(); else this.card.show(i, x, y);
  }

  // -- the view, in the address and for the next visit ---------------------------------------------

  get memory() { return `spice-map-${this.data.run}`; }

  // Written by the browser itself: the server need not run for it.
  keep() {
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => {
      const { colour, stage } = this.wanted, { camera, filters } = this;
      const view = viewText({ colour, stage, camera, frame: this.replay.at, filters });
      sessionStorage.setItem(this.memory, view);
      const url = new URL(window.location.href);
      url.searchParams.set("view", view);
      window.history.replaceState(window.history.state, "", url);
    }, KEEP_MS);
  }

  remembered() {
    const asked = new URL(window.location.href).searchParams.get("view");
    const specs = this.data.stages.flatMap((one) => one.columns);
    return viewOf(asked ?? sessionStorage.getItem(this.memory) ?? "", specs);
  }

  close() {
    this.watcher?.disconnect();
    this.replay?.stop();
    clearTimeout(this.keeping);
  }
}

const maps = new WeakMap();

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  if (!maps.has(parentElement)) maps.set(parentElement, new ImageMap(parentElement));
  const map = maps.get(parentElement);
  map.take(data, (name, value) => (name === "opened" ? setTriggerValue : setStateValue)(name, value));
  return () => { map.close(); maps.delete(parentElement); };
}
