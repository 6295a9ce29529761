// The map: a canvas of points, and a second canvas above it for numbers, trails and the lasso.
// All changes come from the server (`take`) or from the user; both end in `load`.

const SPAN = 65535;
const HOME_ZOOM = 1.5;
const REACH = 12;
const GLIDE_MS = 550;
const REST_MS = 160;
const KEEP_MS = 250;
const LATE_MS = 400;

class ImageMap {
  /** @param {HTMLElement} root */
  constructor(root) {
    const find = (selector) => part(root, selector);
    this.box = find(".map");
    this.stage = find(".stage");
    /** @type {HTMLCanvasElement} */
    this.over = part(root, ".over");
    this.status = find(".status");
    this.sorry = find(".sorry");
    /** @type {HTMLSelectElement} */
    this.colourMenu = part(root, ".colour");
    /** @type {HTMLSelectElement} */
    this.stageMenu = part(root, ".labels");
    this.replayButton = find("[data-act=replay]");
    this.points = new Points(part(root, ".points"));
    if (!this.points.gl) {
      this.complain("The map needs WebGL 2, which this browser does not support.");
      return;
    }
    this.camera = { x: SPAN / 2, y: SPAN / 2, zoom: HOME_ZOOM };
    this.filters = new Map();
    this.overlay = new Overlay(this.over, this);
    this.card = new Card(find(".card"), this);
    this.legend = new Legend(
      find(".legend"),
      (...about) => this.filter(...about),
      (...about) => this.judge(...about),
    );
    this.replay = new Replay(find(".replay"), (frame) => this.show(frame));
    this.hands = new Hands(this);
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(this.stage);
  }

  complain(text) {
    this.sorry.textContent = text;
    this.sorry.style.display = text ? "flex" : "none";
  }

  // -- data from the server ---------------------------------------------------------------------

  take(data, tell) {
    this.tell = tell;
    if (!this.points.gl) return;
    const fresh = this.data?.key !== data.key;
    const { selection, open, near, ...rest } = data;
    const text = JSON.stringify(rest);
    const known = this.told === text;
    this.data = data;
    this.told = text;
    if (known) return this.drawOver(); // selected and opened here: shown already
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

  // Another run, or the same run created again: discard everything about the old one.
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

  get frame() {
    return this.data.frames[this.replay.at];
  }

  columnOf(key) {
    return this.labels.columns.find((one) => one.key === key);
  }

  // The values of a column; labels depend on the frame, and verdicts on the thresholds.
  async values(spec) {
    if (spec.key === "cluster" && this.frame?.label) return column(this.frame.label);
    if (!spec.own) return column(spec.column);
    const [label, confidence, agreement] = await Promise.all([spec.label, spec.confidence, spec.agreement].map(column));
    const asked = this.judged;
    const sure = Math.fround(asked ? asked.confidence : spec.own.confidence);
    const one = asked ? Math.fround(asked.agreement) : 0;
    const each = Float32Array.from(spec.own.agreement);
    return label.map((k, i) => Number(agreement[i] < (asked ? one : each[k])) + 2 * Number(confidence[i] < sure));
  }

  // Fetches everything that is visible, then shows it all at once.
  async load(rebuild) {
    const ticket = (this.ticket ?? 0) + 1;
    this.ticket = ticket;
    const late = setTimeout(() => {
      if (ticket === this.ticket && !this.place) this.complain("Loading the map …");
    }, LATE_MS);
    const { data, spec, frame } = this;
    const cluster = this.columnOf("cluster");
    const filters = [...this.filters].filter(([key]) => this.columnOf(key));
    try {
      const [place, ids, label, values, ...filtered] = await Promise.all([
        column(frame?.place ?? data.place),
        data.ids ? column(data.ids) : null,
        cluster ? this.values(cluster) : null,
        this.values(spec),
        ...filters.map(([key]) => this.values(this.columnOf(key))),
      ]);
      if (ticket !== this.ticket) return;
      if (place.length !== 2 * data.n) throw new Error("the map has changed: reload the page");
      if (label !== this.label) this.numbers = undefined;
      this.ids = ids;
      this.label = label;
      this.shown = values;
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

  // Applies filters and selection, if one of them has changed.
  sift(filters, values) {
    const now = [this.chosen, ...filters.map(([, filter]) => filter), ...values];
    if (this.sifted?.length === now.length && now.every((one, i) => one === this.sifted[i])) return;
    this.sifted = now;
    this.seen = new Uint8Array(this.data.n).fill(1);
    for (const [i, [key, filter]] of filters.entries()) passing(this.columnOf(key), values[i], filter, this.seen);
    this.mark();
  }

  described(spec) {
    if (!spec.own) return spec;
    const now = this.judged ?? { agreement: spec.own.asked, confidence: spec.own.confidence };
    return { ...spec, thresholds: { ...now, own: !this.judged } };
  }

  // Moves the points to new places, with an animation between frames.
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
    const { chosen, seen } = this;
    const some = chosen.includes(1);
    const marks = new Uint8Array(seen.length);
    let count = 0;
    for (let i = 0; i < marks.length; i++) {
      count += chosen[i];
      marks[i] = chosen[i] ? CHOSEN : seen[i] && !some ? SHOWN : REST;
    }
    this.chosenCount = count;
    this.numbers = undefined;
    this.points.mark(marks);
    this.draw();
  }

  choose(chosen) {
    this.chosen = chosen;
    this.tell("selection", { bits: toBits(chosen), drawn: chosen.length });
    requestAnimationFrame(() => this.mark()); // drawing first: the server can wait
  }

  filter(key, filter, rebuild = true) {
    if (filter) this.filters.set(key, filter);
    else this.filters.delete(key);
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

  // The axes of a map have no units, so it may be stretched to fill its frame.
  get scale() {
    const each = (pixels) => ((pixels * 0.88) / SPAN) * this.camera.zoom;
    return [each(Math.min(this.width, 1.5 * this.height)), each(Math.min(this.height, 1.5 * this.width))];
  }

  /** @returns {Pair} */
  toScreen(x, y) {
    const [sx, sy] = this.scale;
    return [(x - this.camera.x) * sx + this.width / 2, (this.camera.y - y) * sy + this.height / 2];
  }

  /** @returns {Pair} */
  toMap(x, y) {
    const [sx, sy] = this.scale;
    return [(x - this.width / 2) / sx + this.camera.x, this.camera.y - (y - this.height / 2) / sy];
  }

  draw() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      this.drawNow();
    });
  }

  drawNow() {
    if (!this.place || !this.width) return;
    const way = this.gliding ? Math.min(1, (performance.now() - this.gliding) / GLIDE_MS) : 1;
    if (way === 1) this.gliding = undefined;
    else this.draw();
    const ratio = window.devicePixelRatio || 1;
    const [sx, sy] = this.scale;
    const base = clamp(300 / Math.sqrt(this.data.n), 1.8, 6.5);
    this.points.draw({
      centre: [this.camera.x, this.camera.y],
      scale: [(2 * sx) / this.width, (2 * sy) / this.height],
      size: base * Math.min(2.4, (this.camera.zoom / HOME_ZOOM) ** 0.35) * ratio,
      grey: this.overlay.grey(),
      way: 1 - (1 - way) ** 3,
      moving: this.moving || way < 1,
    });
    this.drawOver();
    Object.assign(this.box.dataset, {
      drawn: this.data.n,
      colour: this.spec.key,
      selected: this.chosenCount,
      zoom: (this.camera.zoom / HOME_ZOOM).toFixed(3),
      moment: this.replay.at ?? "",
    });
  }

  drawOver() {
    if (!this.place || !this.width) return;
    this.overlay.draw();
    this.status.textContent = this.words();
  }

  words() {
    const parts = [this.data.note || `${number(this.data.n)} images`];
    if (this.filters.size) parts.push(`${number(this.seen.reduce((sum, one) => sum + one, 0))} pass the filter`);
    if (this.chosenCount) parts.push(`${number(this.chosenCount)} selected`);
    return parts.join(" · ");
  }

  indexOf(id) {
    if (id === null || id === undefined) return undefined;
    if (!this.ids) return id < this.data.n ? id : undefined;
    this.places ??= new Map(Array.from(this.ids, (one, i) => [one, i]));
    return this.places.get(id);
  }

  // -- user actions -----------------------------------------------------------------------------

  home() {
    this.camera = { x: SPAN / 2, y: SPAN / 2, zoom: HOME_ZOOM };
    this.move();
  }

  clear() {
    if (this.chosenCount) this.choose(new Uint8Array(this.data.n));
  }

  toggleReplay() {
    const open = this.replay.at === undefined;
    this.replayButton.setAttribute("aria-pressed", String(open));
    if (open) this.replay.open(this.wanted.frame);
    else this.replay.close();
    this.tell("replay", open);
  }

  // The camera has moved: draw fewer points now, and all once it rests.
  move() {
    this.moving = true;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      this.moving = false;
      this.draw();
    }, REST_MS);
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

  again() {
    this.menus();
    this.load(true);
    this.keep();
  }

  get search() {
    this.grid ??= new Grid(this.place);
    return this.grid;
  }

  idOf(i) {
    return this.ids ? this.ids[i] : i;
  }

  under(x, y) {
    const [across, up] = this.scale.map((s) => REACH / s);
    return this.search.nearest(...this.toMap(x, y), across, up, this.seen);
  }

  // The pointer is over point i, or over no point.
  point(i, x, y) {
    if (i === this.hover) return;
    this.hover = i;
    this.drawOver();
    if (i === undefined) this.card.hide();
    else this.card.show(i, x, y);
  }

  // -- the view, kept in the URL and for the next visit --------------------------------------------

  get memory() {
    return `spice-map-${this.data.run}`;
  }

  // Written in the browser: no rerun on the server is needed.
  keep() {
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => {
      const { colour, stage } = this.wanted;
      const { camera, filters } = this;
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
