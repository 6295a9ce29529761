// The gallery: tiles of one page, marks, roving focus and the pager. Marks stay in the browser; Python is
// notified of page turns (state), opened images and actions (triggers).

const TURNS = {
  first: () => 1,
  back: (now) => now - 1,
  on: (now) => now + 1,
  last: (_now, pages) => pages,
};

const SIZE_MEMORY = "spice-gallery-size";
const SIZE_CHANGED = "spice-gallery-size";
// Pictures at least this wide have room for their names.
const NAMED_SIDE = 132;
const SETTLE_MS = 250;
// A page that is looked at for so long is not passed on the way to another: the next one is prepared.
const IDLE_MS = 300;
// What a sheet may be asked for: the longer side of its pictures in pixels.
const SHEET_SIDES = [160, 240, 320];

class Gallery {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = part(root, ".gallery");
    this.bar = part(root, ".bar");
    this.range = part(root, ".range");
    this.hint = part(root, ".hint");
    this.count = part(root, ".count");
    this.buttons = part(root, ".buttons");
    this.grid = part(root, ".grid");
    /** @type {HTMLInputElement} */
    this.slider = part(root, ".size input");
    this.marks = new Set();
    this.tiles = [];
    this.at = 0;
    this.listen();
  }

  take(data, speak) {
    const fresh = this.data?.version !== data.version;
    const turned = fresh || this.data.page !== data.page || this.data.perPage !== data.perPage;
    this.data = data;
    this.speak = speak;
    if (fresh) this.marks.clear();
    if (fresh || this.wanted === data.page) this.wanted = undefined;
    this.grid.style.setProperty("--odd", data.oddColour);
    this.grid.classList.remove("waiting");
    this.grid.setAttribute("aria-multiselectable", String(this.markable));
    this.root.classList.toggle("sharp", data.sharp);
    this.root.classList.toggle("markable", this.markable);
    this.root.classList.toggle("paged", data.pages > 1);
    this.build();
    this.resize();
    this.bring();
    if (turned) this.begin();
    this.showPager();
    this.showActions();
    this.showMarks();
  }

  get markable() {
    return this.data.actions.length > 0;
  }

  // -- the size, one for all galleries ---------------------------------------------------------------

  get side() {
    if (this.data.fixed) return this.data.side;
    const kept = this.chosen ?? memory.get(SIZE_MEMORY);
    return Number.isFinite(kept) ? clamp(kept, Number(this.slider.min), Number(this.slider.max)) : this.data.side;
  }

  resize() {
    const { side } = this;
    this.grid.style.setProperty("--side", `${side}px`);
    this.slider.value = String(side);
    this.slider.setAttribute("aria-valuetext", `${side} pixels`);
    this.root.classList.toggle("named", side >= NAMED_SIDE);
    this.root.classList.toggle("fixed", Boolean(this.data.fixed));
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.sharpen(), SETTLE_MS);
  }

  // Asks for a sheet with more pixels when the tiles need more than the pictures on it have.
  sharpen() {
    const { sheet } = this.data;
    const cut = sheet.sizes?.some((size) => Math.max(...size) >= sheet.width);
    if (!cut || !sheet.largest || !this.tiles.length) return;
    const needed = Math.min(this.tiles[0].offsetWidth * window.devicePixelRatio, sheet.largest);
    const wanted = SHEET_SIDES.find((one) => one >= needed) ?? sheet.largest;
    if (needed > sheet.width && wanted !== this.pixels) {
      this.pixels = wanted;
      this.speak.pixels(wanted);
    }
  }

  close() {
    clearTimeout(this.settling);
    this.sheet = undefined; // its other parts are not fetched any more
    this.rest();
    window.removeEventListener(SIZE_CHANGED, this.follow);
  }

  // -- tiles -------------------------------------------------------------------------------------

  // A tile whose image stays is kept, with its focus and picture.
  build() {
    const { ids, sheet } = this.data;
    const same = this.source === sheet.source;
    const kept = new Map(same ? this.tiles.map((tile) => [tile.dataset.id, tile]) : []);
    this.source = sheet.source;
    const tiles = ids.map((id) => kept.get(String(id)) ?? this.tile(id));
    if (tiles.length !== this.tiles.length || tiles.some((tile, i) => tile !== this.tiles[i])) {
      this.grid.replaceChildren(...tiles);
    }
    this.tiles = tiles;
    for (const [i, tile] of tiles.entries()) this.dress(tile, i);
  }

  tile(id) {
    const tile = make("div", { className: "tile" });
    const frame = make("div", { className: "frame" });
    const picture = make("canvas");
    const check = make("span", { className: "check" });
    tile.dataset.id = id;
    tile.setAttribute("role", "option");
    picture.setAttribute("aria-hidden", "true"); // the tile itself has the accessible name
    check.setAttribute("aria-hidden", "true");
    check.title = "Mark";
    frame.append(picture, check);
    tile.append(frame, make("div", { className: "name" }), make("div", { className: "caption" }));
    return tile;
  }

  // Fetches the pictures of a page as one sheet: one request for each would take a second. Where thumbnails have yet
  // to be made, the sheet comes in parts: first the first row alone, then two parts at a time, so that the server is
  // never idle, and has little to do in vain when the page is left.
  async bring() {
    const { sheet, ids } = this.data;
    if (this.sheet === sheet.url) return;
    this.sheet = sheet.url;
    this.rest();
    const parts = sheet.parts?.length ? sheet.parts : [{ url: sheet.url, first: 0, count: ids.length }];
    const loads = [this.picture(parts[0].url)];
    for (const [place, { first, count }] of parts.entries()) {
      const wanted = ids.slice(first, first + count).map(String);
      const image = await loads[place];
      if (this.sheet !== sheet.url) return;
      for (const { url } of parts.slice(loads.length, place + 3)) loads.push(this.picture(url));
      for (const tile of this.tiles) {
        const i = wanted.indexOf(tile.dataset.id);
        if (i < 0 || tile.dataset.shown === String(sheet.width)) continue;
        if (image) this.cut(image, sheet, tile, i, sheet.sizes?.[first + i]);
        else tile.classList.toggle("missing", !tile.dataset.shown);
      }
    }
    this.waiting = setTimeout(() => this.prepare(), IDLE_MS);
  }

  /** @type {(url: string) => Promise<HTMLImageElement | undefined>} undefined if it cannot be had */
  picture(url) {
    return new Promise((resolve) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => resolve(undefined);
      image.src = url;
    });
  }

  // Fetches the next page ahead of time, which stops as soon as another page is shown or asked for.
  async prepare() {
    this.preparing = new AbortController();
    const { signal } = this.preparing;
    try {
      for (const url of this.data.ahead ?? []) await (await fetch(url, { signal })).blob();
    } catch {
      /* stopped, or the server does not respond: the page itself says so */
    }
  }

  rest() {
    clearTimeout(this.waiting);
    this.preparing?.abort();
  }

  // A picture fills a part of its cell; the canvas has the aspect of that part, and the tile centres it.
  cut(image, { columns, width, height }, tile, i, size) {
    const picture = tile.querySelector("canvas");
    const [wide, high] = size ?? [width, height];
    [picture.width, picture.height] = [wide, high];
    const [x, y] = [(i % columns) * width, Math.floor(i / columns) * height];
    picture.getContext("2d").drawImage(image, x, y, wide, high, 0, 0, wide, high);
    tile.dataset.shown = String(width);
    tile.classList.remove("missing");
  }

  dress(tile, i) {
    const { data } = this;
    const caption = tile.querySelector(".caption");
    tile.title = data.titles[i];
    tile.setAttribute("aria-label", data.titles[i].replaceAll("\n", ", "));
    caption.textContent = data.captions[i];
    caption.hidden = !data.captions[i];
    tile.querySelector(".name").textContent = data.titles[i].split("\n")[0].split("/").pop();
    tile.querySelector(".frame").style.borderBottomColor = data.colours[i] || "transparent";
    tile.classList.toggle("odd", Boolean(data.odd[i]));
    if (data.ids[i] === data.open) tile.setAttribute("aria-current", "true");
    else tile.removeAttribute("aria-current");
  }

  // A new page: after a turn by keyboard, the focus goes to its first tile, or to its last after a turn back.
  begin() {
    this.anchor = undefined;
    this.move(this.enter === "last" ? this.tiles.length - 1 : 0, this.enter !== undefined);
    this.enter = undefined;
  }

  move(to, focus = true) {
    this.tiles[this.at]?.setAttribute("tabindex", "-1");
    for (const tile of this.tiles) if (!tile.hasAttribute("tabindex")) tile.tabIndex = -1;
    this.at = clamp(to, 0, this.tiles.length - 1);
    this.tiles[this.at].tabIndex = 0;
    if (focus) this.tiles[this.at].focus();
  }

  // -- marks -------------------------------------------------------------------------------------

  showMarks() {
    this.tiles.forEach((tile, i) => {
      const on = this.marks.has(this.data.ids[i]);
      tile.classList.toggle("marked", on);
      tile.setAttribute("aria-selected", String(on));
    });
    this.root.classList.toggle("marking", this.marks.size > 0);
    this.count.textContent = this.marks.size ? `${number(this.marks.size)} marked` : "";
    this.bar.classList.toggle("off", !this.markable && this.data.pages === 1);
  }

  toggle(i) {
    const id = this.data.ids[i];
    if (!this.marks.delete(id)) this.marks.add(id);
    this.fix(i);
    this.showMarks();
  }

  // Anchors a range here; tiles marked so far stay marked whatever the range covers.
  fix(i) {
    this.anchor = i;
    this.base = new Set(this.marks);
  }

  extend(to) {
    if (this.anchor === undefined) this.fix(this.at);
    const [from, until] = [Math.min(this.anchor, to), Math.max(this.anchor, to)];
    this.marks = new Set([...this.base, ...this.data.ids.slice(from, until + 1)]);
    this.showMarks();
  }

  clear() {
    this.marks.clear();
    this.fix(this.at);
    this.showMarks();
  }

  // -- pager and actions -------------------------------------------------------------------------

  // The page that the turns lead to, even before it has arrived.
  get page() {
    return this.wanted ?? this.data.page;
  }

  showPager() {
    const { page, pages, perPage, total, ids } = this.data;
    const from = (page - 1) * perPage;
    const noun = total === 1 ? "image" : "images";
    const shown = `${number(from + 1)}–${number(from + ids.length)} of ${number(total)}`;
    this.range.textContent = pages === 1 ? `${number(total)} ${noun}` : shown;
    /** @type {NodeListOf<HTMLButtonElement>} */
    const buttons = this.bar.querySelectorAll("[data-turn]");
    for (const button of buttons) {
      button.disabled = page === (["first", "back"].includes(button.dataset.turn) ? 1 : pages);
    }
    this.hint.textContent = "Click opens · Ctrl-click, Shift-click or Space marks";
  }

  showActions() {
    const made = this.data.actions.map(({ name, label }) => {
      const button = make("button", { textContent: label });
      button.dataset.action = name;
      return button;
    });
    const same = JSON.stringify(this.data.actions) === this.drawn;
    if (!same) this.buttons.replaceChildren(...made);
    this.drawn = JSON.stringify(this.data.actions);
  }

  turn(to) {
    const page = clamp(to, 1, this.data.pages);
    if (page === this.page) return false;
    this.wanted = page;
    this.rest();
    this.grid.classList.add("waiting");
    this.speak.page({ version: this.data.version, number: page });
    return true;
  }

  ask(action) {
    if (!this.marks.size) return;
    this.speak.ask({ action, ids: [...this.marks] });
    this.clear();
    this.move(this.at);
  }

  open(i) {
    this.speak.open(this.data.ids[i]);
  }

  // -- pointer and keyboard ----------------------------------------------------------------------

  listen() {
    this.follow = (/** @type {any} */ e) => {
      this.chosen = e.detail;
      this.resize();
    };
    window.addEventListener(SIZE_CHANGED, this.follow);
    this.slider.addEventListener("input", () => {
      const detail = Number(this.slider.value);
      memory.set(SIZE_MEMORY, detail);
      window.dispatchEvent(new CustomEvent(SIZE_CHANGED, { detail }));
    });
    this.grid.addEventListener("click", (e) => this.press(e));
    this.grid.addEventListener("keydown", (e) => this.type(e));
    // Shift-click would select text.
    this.grid.addEventListener("mousedown", (e) => {
      if (e.shiftKey) e.preventDefault();
    });
    this.bar.addEventListener("click", (e) => {
      const button = holder(e, "button");
      if (!button) return;
      const { turn, action } = button.dataset;
      if (turn) this.turn(TURNS[turn](this.page, this.data.pages));
      else if (action) this.ask(action);
      else this.clear();
    });
  }

  press(e) {
    const i = this.tiles.indexOf(holder(e, ".tile"));
    if (i < 0) return;
    const ranged = this.markable && e.shiftKey;
    const single = this.markable && (e.ctrlKey || e.metaKey || holder(e, ".check"));
    if (ranged && this.anchor !== undefined) this.extend(i);
    else if (ranged || single) this.toggle(i);
    this.move(i);
    if (ranged || single) return;
    this.fix(i);
    this.open(i);
  }

  get across() {
    const top = this.tiles[0].offsetTop;
    const next = this.tiles.findIndex((tile) => tile.offsetTop > top);
    return next < 0 ? this.tiles.length : next;
  }

  // The number of whole rows that fit in the window, at least one.
  get screenful() {
    const high = this.tiles[0].offsetHeight + 8;
    return Math.max(1, Math.floor((0.8 * window.innerHeight) / high)) * this.across;
  }

  target(key) {
    const last = this.tiles.length - 1;
    const { at } = this;
    const steps = {
      ArrowLeft: () => at - 1,
      ArrowRight: () => at + 1,
      ArrowUp: () => (at < this.across ? at : at - this.across),
      ArrowDown: () => (at + this.across > last ? at : at + this.across),
      Home: () => 0,
      End: () => last,
      PageUp: () => Math.max(0, at - this.screenful),
      PageDown: () => Math.min(last, at + this.screenful),
    };
    return steps[key] && clamp(steps[key](), 0, last);
  }

  type(e) {
    if (e.altKey) return;
    if (this.act(e) || this.walk(e)) {
      e.preventDefault();
      e.stopPropagation();
    }
  }

  act(e) {
    const control = e.ctrlKey || e.metaKey;
    if (e.key === "Enter") this.open(this.at);
    else if (e.key === " " && this.markable) this.toggle(this.at);
    else if (e.key === "Escape" && this.marks.size) this.clear();
    else if (control && e.key.toLowerCase() === "a" && this.markable) {
      for (const id of this.data.ids) this.marks.add(id);
      this.showMarks();
    } else return false;
    return true;
  }

  walk(e) {
    if (e.ctrlKey || e.metaKey) return false;
    const to = this.target(e.key);
    if (to === undefined) return false;
    const by = { PageUp: -1, PageDown: 1 }[e.key];
    if (to === this.at && by && !e.shiftKey) {
      this.enter = by > 0 ? "first" : "last";
      if (!this.turn(this.page + by)) this.enter = undefined;
      return true;
    }
    if (e.shiftKey && this.markable) this.extend(to);
    this.move(to);
    if (!e.shiftKey) this.fix(to);
    return true;
  }
}
