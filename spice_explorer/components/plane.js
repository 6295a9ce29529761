// The reliability instrument: what any pair of thresholds would make of every image, at once.
// It judges by the engine's own rule (engine/stages/reliable.judge), in the engine's own precision.

const NINES_COLUMNS = 40, MOST_ROWS = 28, SETTLE_MS = 150, LIST_HEIGHT = 400;
const X_TICKS = [0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
const Y_TICKS = [0, 0.25, 0.5, 0.75, 1];

const whole = (number) => number.toLocaleString("en");
// One decimal, and 0% or 100% only where that is exact.
const percent = (share) => {
  const rounded = share > 0 && share < 1 ? clamp(100 * share, 0.1, 99.9).toFixed(1) : String(100 * share);
  return `${rounded}%`;
};
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const plain = (value) => String(Number(value.toFixed(6)));
const same = (a, b) => ["agreement", "confidence", "neighbors", "floor"].every((key) => a[key] === b[key]);

function element(kind, name, parent) {
  const made = document.createElement(kind);
  made.className = name;
  parent?.append(made);
  return made;
}

// -- the rule ----------------------------------------------------------------------------------

class Judge {
  constructor(labels, confidence, clusters) {
    Object.assign(this, { labels, confidence, clusters, sizes: new Uint32Array(clusters) });
    for (let i = 0; i < labels.length; i++) this.sizes[labels[i]]++;
  }

  // Images by cluster and number of agreeing neighbours, the sure ones apart: all that the rule needs.
  tally(agreed, count, threshold) {
    if (this.agreed === agreed && this.threshold === threshold) return;
    Object.assign(this, { agreed, count, threshold });
    const { labels, confidence, clusters } = this, width = count + 1, least = Math.fround(threshold);
    this.sure = new Uint32Array(clusters * width);
    this.unsure = new Uint32Array(clusters * width);
    for (let i = 0; i < labels.length; i++) {
      (confidence[i] >= least ? this.sure : this.unsure)[labels[i] * width + agreed[i]]++;
    }
  }

  // The number of neighbours out of `count` from which a share is at least `agreement`.
  static need(agreement, count) {
    const least = Math.fround(agreement);
    let need = 0;
    while (need < count && Math.fround(need / count) < least) need++;
    return need;
  }

  // (K × 4) images of each verdict, their sums, and the neighbours that each cluster needs.
  verdict({ agreement, floor }) {
    const { clusters, count, sizes, sure, unsure } = this, width = count + 1;
    const plain = Judge.need(agreement, count), table = new Uint32Array(4 * clusters);
    const needs = new Uint16Array(clusters), total = [0, 0, 0, 0];
    for (let k = 0; k < clusters; k++) {
      const need = needs[k] = Math.min(plain, this.lowest(k, Math.ceil(floor * sizes[k])));
      for (let m = 0, at = k * width; m <= count; m++, at++) {
        const disagree = m < need ? 1 : 0;
        table[4 * k + disagree] += sure[at];
        table[4 * k + 2 + disagree] += unsure[at];
      }
      for (let v = 0; v < 4; v++) total[v] += table[4 * k + v];
    }
    return { table, needs, total, plain };
  }

  // The number of agreeing neighbours from which a cluster keeps `wanted` of its sure images.
  lowest(cluster, wanted) {
    if (!wanted) return this.count;
    const start = cluster * (this.count + 1);
    let kept = 0, last = this.count;
    for (let m = this.count; m >= 0; m--) {
      if (!this.sure[start + m]) continue;
      last = m;
      kept += this.sure[start + m];
      if (kept >= wanted) return m;
    }
    return last;
  }
}

// -- agreement × confidence --------------------------------------------------------------------

class Plane {
  constructor(root, owner) {
    const find = (selector) => root.querySelector(selector);
    Object.assign(this, { owner, area: find(".area"), canvas: find("canvas"), ticks: find(".ticks") });
    [this.across, this.down, this.corner] = [find(".across"), find(".down"), find(".corner")];
    this.listen();
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(this.area);
  }

  nines(p) { return -Math.log10(Math.max(1 - p, 10 ** -this.most)); }

  // Where a confidence lies between 0 and the width, and an agreement between the height and 0.
  x(p) { return (this.nines(p) / this.most) * this.width; }
  // Every number of neighbours has a row as high as the others, half a row beyond 0 and 1.
  y(m) { return (1 - (m + 0.5) / (this.count + 1)) * this.height; }

  take(confidence, agreed, count, most) {
    this.most = most;
    if (this.confidence !== confidence) {
      this.confidence = confidence;
      this.column = new Uint8Array(confidence.length);
      for (let i = 0; i < confidence.length; i++) {
        this.column[i] = Math.min(NINES_COLUMNS - 1, (this.nines(confidence[i]) / most) * NINES_COLUMNS);
      }
    }
    this.count = count;
    this.each = Math.ceil((count + 1) / MOST_ROWS);
    this.rows = Math.ceil((count + 1) / this.each);
    this.cells = new Uint32Array(this.rows * NINES_COLUMNS);
    // Rows are filled from the top, where the thresholds are.
    for (let i = 0; i < agreed.length; i++) {
      this.cells[Math.floor((count - agreed[i]) / this.each) * NINES_COLUMNS + this.column[i]]++;
    }
    this.fullest = this.cells.reduce((a, b) => Math.max(a, b), 1);
    this.resize();
  }

  show(asked, need) {
    Object.assign(this, { asked, need });
    this.draw();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    [this.width, this.height] = [this.area.clientWidth, this.area.clientHeight];
    [this.canvas.width, this.canvas.height] = [this.width * ratio, this.height * ratio];
    if (this.cells) { this.label(); this.draw(); }
  }

  // The part of the canvas that a row of cells covers: y of its top and its bottom.
  span(row) {
    const top = this.count - row * this.each, bottom = Math.max(0, top - this.each + 1);
    return [this.y(top + 0.5), this.y(bottom - 0.5)];
  }

  draw() {
    if (!this.cells || !this.asked || !this.width) return;
    const pen = this.canvas.getContext("2d"), ratio = window.devicePixelRatio || 1;
    const x = this.x(this.asked.confidence), y = this.y(this.need - 0.5);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    const parts = [
      [x, 0, this.width, y], [x, y, this.width, this.height], [0, 0, x, y], [0, y, x, this.height],
    ];
    parts.forEach((part, verdict) => this.part(pen, part, this.owner.data.colours[verdict], verdict));
    this.lines(x, y);
  }

  part(pen, [left, top, right, bottom], colour, verdict) {
    pen.save();
    pen.beginPath();
    pen.rect(left, top, right - left, bottom - top);
    pen.clip();
    pen.fillStyle = colour;
    pen.globalAlpha = verdict ? 0.13 : 0.03;
    pen.fillRect(left, top, right - left, bottom - top);
    const wide = this.width / NINES_COLUMNS, scale = Math.log(1 + this.fullest);
    for (let row = 0; row < this.rows; row++) {
      const [above, below] = this.span(row);
      if (below <= top || above >= bottom) continue;
      for (let column = 0; column < NINES_COLUMNS; column++) {
        const images = this.cells[row * NINES_COLUMNS + column];
        if (!images) continue;
        pen.globalAlpha = 0.42 + (0.58 * Math.log(1 + images)) / scale;
        pen.fillRect(column * wide, above, wide - 1, below - above - 1);
      }
    }
    pen.restore();
  }

  lines(x, y) {
    const { agreement, confidence } = this.asked;
    this.down.style.left = `${x}px`;
    this.across.style.top = `${y}px`;
    this.corner.style.left = `${x}px`;
    this.corner.style.top = `${y}px`;
    this.down.classList.toggle("far", x > this.width - 130);
    this.across.classList.toggle("low", y > this.height - 40);
    this.say(this.down, confidence, `confidence ≥ ${plain(confidence)}`);
    this.say(this.across, agreement, `agreement ≥ ${plain(agreement)}: ${this.need} of ${this.count}`);
  }

  say(line, value, words) {
    line.querySelector("b").textContent = words;
    line.setAttribute("aria-valuenow", String(value));
    line.setAttribute("aria-valuetext", words);
  }

  label() {
    const { offsetLeft: left, offsetTop: top } = this.area;
    this.ticks.replaceChildren();
    for (const tick of X_TICKS) this.tick("x", tick, left + this.x(tick), top + this.height + 8);
    for (const tick of Y_TICKS) this.tick("y", tick, left - 7, top + this.y(tick * this.count));
  }

  tick(kind, value, x, y) {
    const made = element("span", kind, this.ticks);
    made.textContent = kind === "y" ? `${100 * value}%` : String(value);
    made.style.left = `${x}px`;
    made.style.top = `${y}px`;
  }

  // The agreement that asks for exactly `need` neighbours, as short a number as says so.
  agreementOf(need) {
    const unit = 10 ** Math.max(3, Math.ceil(Math.log10(this.count)));
    return Math.floor((need * unit) / this.count) / unit;
  }

  // A confidence with as many digits as its number of nines is worth.
  confidenceOf(nines) {
    const digits = Math.max(3, Math.ceil(nines) + 2);
    return clamp(Number((1 - 10 ** -clamp(nines, 0, this.most)).toFixed(digits)), 0, 1);
  }

  at(e) {
    const box = this.area.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  }

  dragged(e, { across, down }) {
    const [x, y] = this.at(e);
    const change = {};
    if (down) change.confidence = this.confidenceOf((x / this.width) * this.most);
    if (across) {
      const need = Math.round((1 - y / this.height) * (this.count + 1));
      change.agreement = this.agreementOf(clamp(need, 0, this.count));
    }
    this.owner.ask(change, false);
  }

  listen() {
    this.hold(this.across, { across: true });
    this.hold(this.down, { down: true });
    this.hold(this.corner, { across: true, down: true });
    this.across.addEventListener("keydown", (e) => this.type(e, "agreement"));
    this.down.addEventListener("keydown", (e) => this.type(e, "confidence"));
    this.area.addEventListener("pointermove", (e) => this.point(e));
    this.area.addEventListener("pointerleave", () => this.owner.tip());
  }

  hold(handle, which) {
    let held = false;
    handle.addEventListener("pointerdown", (e) => {
      if (!this.cells) return;
      held = true;
      handle.classList.add("held");
      handle.setPointerCapture(e.pointerId);
      this.owner.tip();
    });
    handle.addEventListener("pointermove", (e) => { if (held) this.dragged(e, which); });
    const release = () => {
      if (!held) return;
      held = false;
      handle.classList.remove("held");
      this.owner.settle();
    };
    handle.addEventListener("pointerup", release);
    handle.addEventListener("pointercancel", release);
  }

  type(e, what) {
    const way = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }[e.key];
    const end = { Home: 0, End: 1 }[e.key];
    if (!this.cells || (way === undefined && end === undefined)) return;
    e.preventDefault();
    // What is asked may be newer than what is drawn: keys come faster than frames.
    const step = way * (e.shiftKey ? 10 : 1), { agreement, confidence } = this.owner.asked;
    if (end !== undefined) this.owner.ask({ [what]: end });
    else if (what === "agreement") {
      const need = Judge.need(agreement, this.count) + step;
      this.owner.ask({ agreement: this.agreementOf(clamp(need, 0, this.count)) });
    } else {
      // A hundredth below 0.9, a thousandth below 0.99, and so on.
      const fine = 10 ** -Math.min(this.most, Math.floor(this.nines(confidence) + 1e-9) + 2);
      this.owner.ask({ confidence: clamp(Number((confidence + step * fine).toFixed(7)), 0, 1) });
    }
  }

  point(e) {
    if (!this.cells || e.buttons) return;
    const [x, y] = this.at(e);
    const column = clamp(Math.floor((x / this.width) * NINES_COLUMNS), 0, NINES_COLUMNS - 1);
    const row = [...Array(this.rows).keys()].find((one) => y < this.span(one)[1]) ?? this.rows - 1;
    const images = this.cells[row * NINES_COLUMNS + column];
    if (!images || e.target !== this.canvas) return this.owner.tip();
    const top = this.count - row * this.each, bottom = Math.max(0, top - this.each + 1);
    const share = (n) => plain(1 - 10 ** ((-n * this.most) / NINES_COLUMNS));
    const near = top === bottom ? `${top}` : `${bottom} to ${top}`;
    const last = column === NINES_COLUMNS - 1;
    this.owner.tip(e, [
      images === 1 ? "1 image" : `${whole(images)} images`, `${near} of ${this.count} neighbours agree`,
      last ? `confidence from ${share(column)}` : `confidence ${share(column)} to ${share(column + 1)}`,
    ]);
  }

  close() { this.watcher.disconnect(); }
}

// -- the clusters ------------------------------------------------------------------------------

class Clusters {
  constructor(root, owner) {
    const find = (selector) => root.querySelector(selector);
    Object.assign(this, { owner, list: find(".list"), spacer: find(".spacer"), sort: find(".sort") });
    Object.assign(this, { pool: [], active: 0 });
    this.list.addEventListener("scroll", () => this.draw());
    this.list.addEventListener("click", (e) => this.click(e));
    this.list.addEventListener("keydown", (e) => this.type(e));
    this.list.addEventListener("pointermove", (e) => this.point(e));
    this.list.addEventListener("pointerleave", () => owner.tip());
    this.sort.addEventListener("change", () => { this.arrange(); this.draw(); });
  }

  take(sizes, count) {
    Object.assign(this, { sizes, count, largest: sizes.reduce((a, b) => Math.max(a, b), 1) });
    this.each = clamp(Math.floor((LIST_HEIGHT - 2) / sizes.length), 20, 40);
    this.spacer.style.height = `${this.each * sizes.length}px`;
  }

  show(found) {
    this.found = found;
    if (this.order?.length !== this.sizes.length) this.arrange();
    this.draw();
  }

  share(k) { return this.sizes[k] ? this.found.table[4 * k] / this.sizes[k] : 2; }

  // Rows keep their places while a threshold moves, or nobody could follow one.
  arrange() {
    if (!this.found) return;
    const keys = { number: (k) => k, share: (k) => this.share(k), size: (k) => -this.sizes[k] };
    const key = Float64Array.from(this.sizes, (_, k) => keys[this.sort.value](k));
    this.order = [...key.keys()].sort((a, b) => key[a] - key[b] || a - b);
  }

  draw() {
    if (!this.found || !this.order) return;
    const first = Math.max(0, Math.floor(this.list.scrollTop / this.each));
    const visible = Math.ceil(Math.max(this.list.clientHeight, 100) / this.each) + 1;
    const rows = this.order.slice(first, first + visible);
    while (this.pool.length < rows.length) this.pool.push(this.row());
    this.pool.forEach((row, place) => {
      row.hidden = place >= rows.length;
      row.style.display = row.hidden ? "none" : "";
      if (!row.hidden) this.fill(row, rows[place], first + place);
    });
    this.list.setAttribute("aria-activedescendant", `cluster-${this.order[this.active] ?? 0}`);
  }

  row() {
    const made = element("div", "row", this.list);
    made.setAttribute("role", "option");
    const number = element("span", "number", made);
    element("i", "", number);
    element("span", "", number);
    const bar = element("span", "bar", made);
    for (const colour of this.owner.data.colours) element("i", "", bar).style.background = colour;
    const words = element("span", "words", made);
    element("span", "", words);
    element("em", "", words);
    return made;
  }

  fill(row, k, place) {
    const [number, bar, words] = row.children, size = this.sizes[k], { clusterColours } = this.owner.data;
    row.dataset.cluster = k;
    row.id = `cluster-${k}`;
    row.style.top = `${place * this.each}px`;
    row.style.height = `${this.each}px`;
    row.classList.toggle("active", place === this.active);
    row.setAttribute("aria-selected", String(this.owner.data.cluster === k));
    number.firstChild.style.background = clusterColours[k % clusterColours.length];
    number.lastChild.textContent = String(k);
    const kept = this.found.table.subarray(4 * k, 4 * k + 4);
    kept.forEach((images, v) => { bar.children[v].style.width = `${(100 * images) / this.largest}%`; });
    const lowered = this.lowered(k) ? " ▾" : "";
    words.firstChild.textContent = size ? `${percent(kept[0] / size)}${lowered} ` : "";
    words.lastChild.textContent = size ? `of ${whole(size)}` : "empty";
    row.setAttribute("aria-label", this.words(k).join(", "));
  }

  lowered(k) { return this.sizes[k] && this.found.needs[k] < this.found.plain; }

  words(k) {
    const kept = this.found.table.subarray(4 * k, 4 * k + 4), lines = [`cluster ${k}: ${whole(this.sizes[k])} images`];
    if (!this.sizes[k]) return [`cluster ${k} has no image`];
    this.owner.data.reasons.forEach((reason, v) => {
      if (v === 0 || kept[v]) lines.push(`${reason}: ${whole(kept[v])} (${percent(kept[v] / this.sizes[k])})`);
    });
    if (this.lowered(k)) {
      lines.push(`agreement threshold lowered to ${this.found.needs[k]} of ${this.count} to keep the minimum share`);
    }
    return lines;
  }

  clusterOf(e) {
    const row = e.target.closest(".row");
    return row ? Number(row.dataset.cluster) : undefined;
  }

  click(e) {
    const k = this.clusterOf(e);
    if (k === undefined) return;
    this.active = this.order.indexOf(k);
    this.pick(k);
  }

  pick(k) { this.owner.pick({ cluster: this.owner.data.cluster === k ? null : k }); }

  type(e) {
    if (!this.order) return;
    const page = Math.max(1, Math.floor(this.list.clientHeight / this.each) - 1);
    const way = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity }[e.key];
    if (e.key === "Enter" || e.key === " ") this.pick(this.order[this.active]);
    else if (way === undefined) return;
    else this.active = clamp(this.active + way, 0, this.order.length - 1);
    e.preventDefault();
    const top = this.active * this.each, { scrollTop, clientHeight } = this.list;
    this.list.scrollTop = clamp(scrollTop, top + this.each - clientHeight, top);
    this.draw();
  }

  point(e) {
    const k = this.clusterOf(e);
    if (k === undefined || !this.found) return this.owner.tip();
    this.owner.tip(e, this.words(k));
  }
}

// -- all of it ---------------------------------------------------------------------------------

class Inspector {
  constructor(root) {
    this.find = (selector) => root.querySelector(selector);
    this.box = this.find(".inspector");
    this.plane = new Plane(root, this);
    this.clusters = new Clusters(root, this);
    this.inputs = Object.fromEntries(
      ["agreement", "confidence", "neighbors", "floor"].map((name) => [name, this.find(`input.${name}`)]),
    );
    this.listen();
  }

  take(data, send) {
    Object.assign(this, { data, send });
    this.box.style.setProperty("--bad", data.bad);
    if (this.version !== data.version || !this.asked) {
      this.version = data.version;
      this.asked = { ...data.asked };
    }
    this.inputs.neighbors.max = data.most;
    if (!this.tiles) this.tile();
    if (this.source !== data.labels.url + data.agreed.url) this.fetchAll();
    else if (this.have !== this.asked.neighbors) this.fetchAgreed();
    else this.redraw();
  }

  // -- numbers from the server

  async get(url, Kind) {
    const answer = await fetch(url, { signal: this.stopper.signal });
    if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
    return new Kind(await answer.arrayBuffer());
  }

  // Runs what fetches; a failure becomes a sentence, unless something newer was asked for meanwhile.
  async fetching(work) {
    const stopper = this.stopper;
    this.box.classList.add("waiting");
    try {
      await work();
      if (this.have === this.asked.neighbors) this.box.classList.remove("waiting");
    } catch (error) {
      if (this.stopper !== stopper || error.name === "AbortError") return;
      this.source = undefined;
      this.status("The data of this run could not be loaded. Check that the server is running and the run's folder exists, then reload the page.", true);
    }
  }

  fetchAll() {
    this.stopper?.abort();
    this.stopper = new AbortController();
    this.source = this.data.labels.url + this.data.agreed.url;
    [this.judge, this.have, this.columns, this.busy] = [undefined, undefined, new Map(), false];
    this.clusters.order = undefined;
    this.status(`Loading the data of ${whole(this.data.images)} images…`);
    this.fetching(async () => {
      const [labels, confidence] = await Promise.all(
        [this.get(this.data.labels.url, Uint16Array), this.get(this.data.confidence.url, Float32Array)],
      );
      this.judge = new Judge(labels, confidence, this.data.clusters);
      await this.fetchColumn();
    });
  }

  fetchAgreed() {
    this.fetching(() => this.fetchColumn());
  }

  // One column at a time: a slider passes many numbers of neighbours, and only the last one matters.
  async fetchColumn() {
    if (this.busy || !this.judge) return;
    this.busy = true;
    try {
      while (this.have !== this.asked.neighbors) {
        const count = this.asked.neighbors;
        if (!this.columns.has(count)) this.columns.set(count, await this.get(this.data.agreed.url.replace("COUNT", count), Uint16Array));
        this.have = count;
        this.plane.take(this.judge.confidence, this.columns.get(count), count, this.data.mostNines);
        this.clusters.take(this.judge.sizes, count);
        this.redraw();
      }
    } finally {
      this.busy = false;
    }
  }

  // -- what is asked

  // Changes thresholds; the counts follow at once, and Python hears of it unless a drag goes on.
  ask(change, settled = true) {
    this.asked = { ...this.asked, ...change };
    if (this.have !== this.asked.neighbors && this.judge) this.fetchAgreed();
    else this.pending ??= requestAnimationFrame(() => { this.pending = undefined; this.redraw(); });
    if (settled) this.settle();
  }

  settle() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.clusters.arrange();
      this.clusters.draw();
      this.send("thresholds", { ...this.asked, serial: Date.now() });
    }, SETTLE_MS);
  }

  pick(change) { this.send("pick", { ...change, serial: Date.now() }); }

  listen() {
    for (const [name, input] of Object.entries(this.inputs)) {
      input.addEventListener("input", () => this.typed(name, input));
      input.addEventListener("blur", () => this.redraw());
    }
    this.find(".reset").addEventListener("click", () => this.ask({ ...this.data.own }));
  }

  // A number that is out of range is marked and changes nothing.
  typed(name, input) {
    const value = input.valueAsNumber, fits = value >= Number(input.min) && value <= Number(input.max);
    input.classList.toggle("bad", !fits);
    if (fits) this.ask({ [name]: name === "floor" ? value / 100 : value });
  }

  // -- what is shown

  tile() {
    this.tiles = this.data.reasons.map((reason, v) => {
      const made = element("button", "", this.find(".tiles"));
      made.type = "button";
      made.style.setProperty("--colour", this.data.colours[v]);
      made.title = this.data.explanations[v];
      element("span", "name", made).textContent = reason;
      for (const name of ["count", "share", "moved"]) element("span", name, made);
      made.addEventListener("click", () => this.pick({ reason: v }));
      return made;
    });
  }

  redraw() {
    this.fields();
    if (!this.judge || this.have === undefined) return;
    this.judge.tally(this.columns.get(this.have), this.have, this.asked.confidence);
    const found = this.judge.verdict(this.asked);
    this.tiles.forEach((tile, v) => this.count(tile, found.total[v], this.data.ownCounts[v], v));
    this.plane.show(this.asked, found.plain);
    this.clusters.show(found);
    this.check(found.total);
  }

  count(tile, images, before, v) {
    const say = (name, text) => { tile.querySelector(`.${name}`).textContent = text; };
    const moved = images - before, sign = moved > 0 ? "+" : "−";
    say("count", whole(images));
    say("share", percent(images / this.data.images));
    say("moved", moved ? `${sign}${whole(Math.abs(moved))} compared with the run` : "as in the run");
    tile.setAttribute("aria-pressed", String(this.data.reason === v));
  }

  // A field that is being typed in is left alone.
  fields() {
    const shown = { ...this.asked, floor: 100 * this.asked.floor };
    for (const [name, input] of Object.entries(this.inputs)) {
      if (input.matches(":focus") && input.type === "number") continue;
      input.value = name === "floor" ? String(Number(shown.floor.toFixed(2))) : plain(shown[name]);
      input.classList.remove("bad");
    }
    this.find("output").textContent = `${this.asked.neighbors} of ${this.data.most}`;
    this.find(".reset").disabled = same(this.asked, this.data.own);
  }

  // The engine's own counts for the same thresholds: when they are there they must be the same.
  check(total) {
    const { engine } = this.data, there = same(engine.thresholds, this.asked) && this.have === this.asked.neighbors;
    const equal = there && engine.counts.every((images, v) => images === total[v]);
    this.box.dataset.checked = there ? String(equal) : "waiting";
    const lowered = this.clusters.sizes.reduce((sum, _, k) => sum + (this.clusters.lowered(k) ? 1 : 0), 0);
    const kept = lowered ? ` ▾ The agreement threshold was lowered for ${whole(lowered)} ${lowered === 1 ? "cluster" : "clusters"} so that each keeps ${percent(this.asked.floor)}; those images lie below the line.` : "";
    if (there && !equal) {
      return this.status(`The engine counts ${whole(engine.counts[0])} reliable images, not ${whole(total[0])}: reload the page.`, true);
    }
    this.status((there ? "Checked: the engine's counts match." : "The engine is counting…") + kept);
  }

  status(text, wrong = false) {
    const place = this.find(".status");
    place.textContent = text;
    place.classList.toggle("wrong", wrong);
  }

  // Words beside the pointer; none without an event.
  tip(e, lines) {
    const tip = this.find(".tip");
    tip.style.display = e ? "block" : "none";
    if (!e) return;
    tip.textContent = lines.join("\n");
    const box = this.box.getBoundingClientRect(), [x, y] = [e.clientX - box.left, e.clientY - box.top];
    tip.style.left = `${clamp(x + 16, 0, box.width - tip.offsetWidth)}px`;
    tip.style.top = `${clamp(y + 14, 0, box.height - tip.offsetHeight)}px`;
  }

  close() {
    this.stopper?.abort();
    clearTimeout(this.timer);
    cancelAnimationFrame(this.pending);
    this.plane.close();
  }
}

const inspectors = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  if (!inspectors.has(parentElement)) inspectors.set(parentElement, new Inspector(parentElement));
  const inspector = inspectors.get(parentElement);
  inspector.take(data, setStateValue);
  return () => { inspector.close(); inspectors.delete(parentElement); };
}
