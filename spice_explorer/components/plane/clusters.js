// The clusters: one row each, with the number of reliable images at these thresholds.

const LIST_HEIGHT = 400;

const coloured = (colour) => {
  const made = make("i");
  made.style.background = colour;
  return made;
};

class Clusters {
  /**
   * @param {HTMLElement} root
   * @param {Inspector} owner
   */
  constructor(root, owner) {
    this.owner = owner;
    this.list = part(root, ".list");
    this.spacer = part(root, ".spacer");
    /** @type {HTMLSelectElement} */
    this.sort = part(root, ".sort");
    this.pool = [];
    this.active = 0;
    this.list.addEventListener("scroll", () => this.draw());
    this.list.addEventListener("click", (e) => this.click(e));
    this.list.addEventListener("keydown", (e) => this.type(e));
    this.list.addEventListener("pointermove", (e) => this.point(e));
    this.list.addEventListener("pointerleave", () => owner.tip());
    this.sort.addEventListener("change", () => {
      this.arrange();
      this.draw();
    });
  }

  take(sizes, count) {
    this.sizes = sizes;
    this.count = count;
    this.largest = sizes.reduce((a, b) => Math.max(a, b), 1);
    this.each = clamp(Math.floor((LIST_HEIGHT - 2) / sizes.length), 20, 40);
    this.spacer.style.height = `${this.each * sizes.length}px`;
  }

  show(found) {
    this.found = found;
    if (this.order?.length !== this.sizes.length) this.arrange();
    this.draw();
  }

  share(k) {
    return this.sizes[k] ? this.found.table[4 * k] / this.sizes[k] : 2;
  }

  // Rows keep their order while a threshold is dragged, so that they can be followed.
  arrange() {
    if (!this.found) return;
    const keys = { number: (k) => k, share: (k) => this.share(k), size: (k) => -this.sizes[k] };
    const key = Float64Array.from(this.sizes, (_, k) => keys[this.sort.value](k));
    this.order = [...key.keys()].sort((a, b) => key[a] - key[b] || a - b);
  }

  draw() {
    if (!this.found || !this.order) return;
    const { names } = this.owner.data;
    this.list.classList.toggle(
      "named",
      names.some((name, k) => name !== String(k)),
    );
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
    const made = make(
      "div",
      { className: "row" },
      make("span", { className: "number" }, make("i"), make("span")),
      make("span", { className: "bar" }, ...this.owner.data.colours.map(coloured)),
      make("span", { className: "words" }, make("span"), make("em")),
    );
    made.setAttribute("role", "option");
    this.list.append(made);
    return made;
  }

  fill(row, k, place) {
    const [name, bar, words] = row.children;
    const size = this.sizes[k];
    const { clusterColours } = this.owner.data;
    row.dataset.cluster = k;
    row.id = `cluster-${k}`;
    row.style.top = `${place * this.each}px`;
    row.style.height = `${this.each}px`;
    row.classList.toggle("active", place === this.active);
    row.setAttribute("aria-selected", String(this.owner.data.cluster === k));
    name.firstChild.style.background = clusterColours[k % clusterColours.length];
    name.lastChild.textContent = name.title = this.owner.data.names[k];
    const kept = this.found.table.subarray(4 * k, 4 * k + 4);
    kept.forEach((images, v) => {
      bar.children[v].style.width = `${(100 * images) / this.largest}%`;
    });
    const lowered = this.lowered(k) ? " ▾" : "";
    words.firstChild.textContent = size ? `${percent(kept[0] / size)}${lowered} ` : "";
    words.lastChild.textContent = size ? `of ${number(size)}` : "empty";
    row.setAttribute("aria-label", this.words(k).join(", "));
  }

  lowered(k) {
    return this.sizes[k] && this.found.needs[k] < this.found.plain;
  }

  words(k) {
    const kept = this.found.table.subarray(4 * k, 4 * k + 4);
    const name = this.owner.data.names[k];
    const called = name === String(k) ? `cluster ${k}` : name;
    const lines = [`${called}: ${number(this.sizes[k])} images`];
    if (!this.sizes[k]) return [`${called} has no image`];
    this.owner.data.reasons.forEach((reason, v) => {
      if (v === 0 || kept[v]) lines.push(`${reason}: ${number(kept[v])} (${percent(kept[v] / this.sizes[k])})`);
    });
    if (this.lowered(k)) {
      const need = `${this.found.needs[k]} of ${this.count}`;
      lines.push(`training also takes ${number(this.found.relaxed[k])}: relaxed to ${need} neighbours, not reliable`);
    }
    return lines;
  }

  clusterOf(e) {
    const row = holder(e, ".row");
    return row ? Number(row.dataset.cluster) : undefined;
  }

  click(e) {
    const k = this.clusterOf(e);
    if (k === undefined) return;
    this.active = this.order.indexOf(k);
    this.pick(k);
  }

  pick(k) {
    this.owner.pick({ cluster: this.owner.data.cluster === k ? null : k });
  }

  type(e) {
    if (!this.order) return;
    const page = Math.max(1, Math.floor(this.list.clientHeight / this.each) - 1);
    const way = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity }[e.key];
    if (e.key === "Enter" || e.key === " ") this.pick(this.order[this.active]);
    else if (way === undefined) return;
    else this.active = clamp(this.active + way, 0, this.order.length - 1);
    e.preventDefault();
    const top = this.active * this.each;
    const { scrollTop, clientHeight } = this.list;
    this.list.scrollTop = clamp(scrollTop, top + this.each - clientHeight, top);
    this.draw();
  }

  point(e) {
    const k = this.clusterOf(e);
    if (k === undefined || !this.found) return this.owner.tip();
    this.owner.tip(e, this.words(k));
  }
}
