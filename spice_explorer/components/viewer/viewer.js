// Viewer: one picture, which can be zoomed and moved. The thumbnail is shown until the original is there.

const WHEEL_SPEED = 0.0015;
const ZOOM_STEP = 1.25;
// The largest size of one pixel of the picture, in pixels of the screen.
const LARGEST_PIXEL = 16;
// From this size on, pixels are drawn as squares.
const SQUARE_PIXEL = 3;
const DRAG_PX = 40;
// A strip of a few pixels stays visible when all of its length is shown.
const THINNEST = 2;

/** @type {[deed: string, text: string, title: string][]} */
const VIEW_BUTTONS = [
  ["out", "−", "Zoom out"],
  ["in", "+", "Zoom in"],
  ["fit", "Fit", "Fit the whole picture"],
  ["actual", "1:1", "One pixel of the picture for each pixel of the screen"],
  ["square", "Square", "What the network sees"],
];
const VIEW_KEYS = { "+": "in", "=": "in", "-": "out", 0: "fit", z: "actual", w: "square" };
/** @type {Record<string, [x: number, y: number]>} */
const VIEW_ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

class Viewer {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.sheet = make("div", { className: "view-sheet" });
    this.square = make("i", { className: "view-square", hidden: true, title: "What the network sees" });
    this.note = make("span", { className: "view-note" });
    this.buttons = VIEW_BUTTONS.map(([deed, textContent, title]) => {
      const button = make("button", { textContent, title });
      button.dataset.view = deed;
      return button;
    });
    this.tools = make("div", { className: "view-tools" }, this.note, ...this.buttons);
    root.replaceChildren(this.sheet, this.tools);
    // "fit" and "actual" follow the size of the viewer; "free" keeps `times`, the zoom relative to "fit".
    this.mode = "fit";
    this.times = 1;
    this.middle = [0.5, 0.5];
    this.listen();
    this.watcher = new ResizeObserver(() => this.place());
    this.watcher.observe(root);
  }

  /**
   * Shows another picture, or none.
   * @param {HTMLImageElement} [thumb]
   */
  show(thumb) {
    if (this.thumb === thumb) return;
    this.thumb = thumb;
    this.original = undefined;
    this.mode = "fit";
    this.middle = [0.5, 0.5];
    this.sheet.replaceChildren(...(thumb ? [thumb, this.square] : []));
    if (thumb && !thumb.complete) thumb.addEventListener("load", () => this.place(), { once: true });
    this.tell();
  }

  /** @param {Original} [original] */
  improve(original) {
    if (!original?.image || this.original === original) return;
    this.original = original;
    this.sheet.replaceChildren(original.image, this.square);
    this.tell();
  }

  /** @param {string} [fit] how the network's square is made: "crop", "squeeze" or "pad" */
  cutBy(fit) {
    this.fit = fit;
    this.tell();
  }

  tell() {
    this.note.textContent = this.original?.kind === "reduced" ? "shown with fewer pixels" : "";
    this.place();
  }

  // -- where the picture is ------------------------------------------------------------------------

  get shown() {
    return this.original?.image ?? this.thumb;
  }

  // CSS pixels for each pixel of the picture when all of it fits.
  get fitting() {
    const { naturalWidth: wide, naturalHeight: high } = this.shown;
    return Math.min(this.root.clientWidth / wide, this.root.clientHeight / high);
  }

  // The zoom at which one pixel of the original has one pixel of the screen.
  get actual() {
    return 1 / (window.devicePixelRatio * this.fitting);
  }

  // Whether there is something to place; before that `place` is called again.
  get ready() {
    return Boolean(this.shown?.naturalWidth && this.root.clientWidth && this.root.clientHeight);
  }

  place() {
    if (!this.ready) return;
    const { shown, root, sheet, fitting } = this;
    if (this.mode === "fit") this.times = 1;
    else if (this.mode === "actual" && this.original) this.times = this.actual;
    const scale = fitting * this.times;
    const sizes = [shown.naturalWidth, shown.naturalHeight].map((length) => Math.max(THINNEST, length * scale));
    const spaces = [root.clientWidth, root.clientHeight];
    const ratio = window.devicePixelRatio;
    this.corner = spaces.map((space, axis) => {
      const half = Math.min(0.5, space / sizes[axis] / 2);
      this.middle[axis] = clamp(this.middle[axis], half, 1 - half);
      return Math.round((space / 2 - this.middle[axis] * sizes[axis]) * ratio) / ratio;
    });
    this.sizes = sizes;
    const [left, top] = this.corner;
    const [width, height] = sizes;
    Object.assign(sheet.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    sheet.classList.toggle("squares", Boolean(this.original) && scale * ratio >= SQUARE_PIXEL);
    root.classList.toggle(
      "movable",
      sizes.some((size, axis) => size > spaces[axis] + 1),
    );
    root.dataset.mode = this.mode;
    root.dataset.kind = this.original ? this.original.kind : "thumbnail";
    this.outline();
    this.press();
  }

  // The central square of a cropped picture; otherwise the network sees all of it.
  outline() {
    const { naturalWidth: wide, naturalHeight: high } = this.shown;
    const whole = this.fit !== "crop" || this.original?.kind === "trained";
    const side = Math.min(wide, high);
    const [width, height] = whole ? [1, 1] : [side / wide, side / high];
    const percents = { left: (1 - width) / 2, top: (1 - height) / 2, width, height };
    for (const [name, share] of Object.entries(percents)) this.square.style[name] = `${100 * share}%`;
  }

  press() {
    const pressed = { fit: this.mode === "fit", actual: this.mode === "actual", square: !this.square.hidden };
    for (const button of this.buttons) {
      const on = pressed[button.dataset.view];
      if (on !== undefined) button.setAttribute("aria-pressed", String(on));
    }
  }

  // -- changing it ---------------------------------------------------------------------------------

  /** @type {(deed: string) => void} */
  do(deed) {
    if (deed === "in") this.zoom(ZOOM_STEP);
    else if (deed === "out") this.zoom(1 / ZOOM_STEP);
    else if (deed === "square") this.square.hidden = !this.square.hidden;
    else this.mode = deed === "actual" && this.mode === "actual" ? "fit" : deed;
    this.place();
  }

  /**
   * Zooms by a factor; the point (x, y) of the viewer stays where it is.
   * @param {number} factor
   * @param {number} [x]
   * @param {number} [y]
   */
  zoom(factor, x = this.root.clientWidth / 2, y = this.root.clientHeight / 2) {
    if (!this.ready) return;
    const low = Math.min(1, this.actual);
    this.jump(clamp(this.times * factor, low, Math.max(1, LARGEST_PIXEL * this.actual)), x, y);
  }

  jump(times, x, y) {
    const at = [x, y];
    const spaces = [this.root.clientWidth, this.root.clientHeight];
    const grown = times / this.times;
    this.middle = this.middle.map((_, axis) => {
      const share = (at[axis] - this.corner[axis]) / this.sizes[axis];
      return share + (spaces[axis] / 2 - at[axis]) / (this.sizes[axis] * grown);
    });
    this.times = times;
    this.mode = Math.abs(times - 1) < 1e-3 ? "fit" : "free";
    this.place();
  }

  move(dx, dy) {
    if (!this.ready) return;
    this.middle = [this.middle[0] - dx / this.sizes[0], this.middle[1] - dy / this.sizes[1]];
    this.place();
  }

  // -- pointer and keyboard ------------------------------------------------------------------------

  listen() {
    const { root } = this;
    root.addEventListener("click", (e) => {
      const deed = holder(e, "[data-view]")?.dataset.view;
      if (deed) this.do(deed);
    });
    root.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    root.addEventListener("dblclick", (e) => {
      if (!holder(e, ".view-tools")) this.toggle(...this.at(e));
    });
    root.addEventListener("pointerdown", (e) => {
      if (e.button || holder(e, ".view-tools")) return;
      this.from = [e.clientX, e.clientY];
      root.setPointerCapture(e.pointerId);
    });
    root.addEventListener("pointermove", (e) => {
      if (!this.from) return;
      this.move(e.clientX - this.from[0], e.clientY - this.from[1]);
      this.from = [e.clientX, e.clientY];
    });
    for (const end of ["pointerup", "pointercancel"]) {
      root.addEventListener(end, () => {
        this.from = undefined;
      });
    }
  }

  /** @type {(e: MouseEvent) => [x: number, y: number]} */
  at(e) {
    const box = this.root.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  }

  // At its smallest the picture leaves the wheel to the page, which scrolls.
  wheel(e) {
    if (!this.ready || (e.deltaY > 0 && this.times <= Math.min(1, this.actual))) return;
    e.preventDefault();
    this.zoom(Math.exp(-e.deltaY * WHEEL_SPEED), ...this.at(e));
  }

  // From the whole picture to its actual size at a point, and back; a small picture doubles instead.
  toggle(x, y) {
    if (!this.ready) return;
    if (this.mode !== "fit") return this.do("fit");
    const grows = this.original && this.actual > 1;
    this.jump(grows ? this.actual : 2, x, y);
    if (grows) this.mode = "actual";
    this.place();
  }

  /** @type {(e: KeyboardEvent) => boolean} whether the key meant something */
  type(e) {
    if (e.ctrlKey || e.metaKey || e.altKey) return false;
    const deed = VIEW_KEYS[e.key.toLowerCase()];
    const arrow = VIEW_ARROWS[e.key];
    if (deed) this.do(deed);
    else if (arrow) this.move(DRAG_PX * arrow[0], DRAG_PX * arrow[1]);
    return Boolean(deed || arrow);
  }
}
