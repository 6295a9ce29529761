// Hands: pointer and keyboard input.

/** @typedef {[x: number, y: number]} Pair */

class Hands {
  /** @param {ImageMap} map */
  constructor(map) {
    this.map = map;
    this.listen();
    this.setMode("lasso");
  }

  setMode(mode) {
    const { map } = this;
    this.mode = mode;
    map.box.classList.toggle("pan", mode === "pan");
    /** @type {NodeListOf<HTMLElement>} */
    const buttons = map.box.querySelectorAll("[data-mode]");
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
  }

  listen() {
    const { map } = this;
    const { over } = map;
    /** @type {(e: MouseEvent) => Pair} */
    const at = (e) => [e.offsetX, e.offsetY];
    const acts = { home: () => map.home(), clear: () => map.clear(), replay: () => map.toggleReplay() };
    map.box.addEventListener("click", (e) => {
      const { mode, act } = /** @type {HTMLElement} */ (e.target).dataset ?? {};
      if (mode) this.setMode(mode);
      if (act) acts[act]();
    });
    map.colourMenu.addEventListener("change", () => {
      map.wanted.colour = map.colourMenu.value;
      map.again();
    });
    map.stageMenu.addEventListener("change", () => {
      map.wanted.stage = map.stageMenu.value;
      map.again();
    });
    over.addEventListener(
      "wheel",
      (e) => {
        e.preventDefault();
        map.zoomAt(...at(e), Math.exp(-e.deltaY * 0.0015));
      },
      { passive: false },
    );
    over.addEventListener("pointerdown", (e) => this.press(e, at(e)));
    over.addEventListener("pointermove", (e) => this.drag(at(e)));
    over.addEventListener("pointerup", (e) => this.release(e, at(e)));
    over.addEventListener("pointerleave", () => map.point(undefined));
    over.addEventListener("dblclick", () => map.home());
    over.addEventListener("keydown", (e) => this.type(e));
  }

  /**
   * @param {PointerEvent} e
   * @param {Pair} at
   */
  press(e, [x, y]) {
    const { map } = this;
    if (!map.place) return;
    map.over.focus({ preventScroll: true });
    map.over.setPointerCapture(e.pointerId);
    this.from = this.last = [x, y];
    this.dragging = this.mode === "pan" || e.button !== 0 ? "pan" : this.mode;
    if (this.dragging !== "pan") this.path = [map.toMap(x, y)];
  }

  /** @param {Pair} at */
  drag([x, y]) {
    const { map } = this;
    if (!map.place) return;
    if (!this.dragging) return map.point(map.under(x, y), x, y);
    map.point(undefined);
    const here = map.toMap(x, y);
    if (this.dragging === "pan") {
      const [sx, sy] = map.scale;
      map.camera.x -= (x - this.last[0]) / sx;
      map.camera.y += (y - this.last[1]) / sy;
      this.last = [x, y];
      return map.move();
    }
    if (this.dragging === "lasso") {
      this.path.push(here);
    } else {
      const [a, b] = map.toMap(...this.from);
      this.path = [[a, b], [here[0], b], here, [a, here[1]]];
    }
    map.drawOver();
  }

  /**
   * @param {PointerEvent} e
   * @param {Pair} at
   */
  release(e, [x, y]) {
    const { map } = this;
    const { dragging, path } = this;
    if (!dragging) return;
    this.dragging = this.path = undefined;
    map.draw();
    if (Math.hypot(x - this.from[0], y - this.from[1]) < 4 && !(path?.length > 6)) return this.click(e, x, y);
    if (!path) return;
    const found = map.search.inside(path, map.seen);
    map.choose(e.shiftKey ? found.map((one, i) => one | map.chosen[i]) : found);
  }

  // A click opens an image; Shift-click adds it to the selection or removes it.
  click(e, x, y) {
    const { map } = this;
    const hit = map.under(x, y);
    if (hit === undefined) return;
    if (!e.shiftKey) return map.tell("opened", { id: map.idOf(hit), at: Date.now() });
    const next = map.chosen.slice();
    next[hit] ^= 1;
    map.choose(next);
  }

  type(e) {
    const { map } = this;
    const step = 60 / map.scale[1];
    /** @type {Pair} */
    const middle = [map.width / 2, map.height / 2];
    const acts = {
      Escape: () => map.clear(),
      0: () => map.home(),
      "+": () => map.zoomAt(...middle, 1.25),
      "=": () => map.zoomAt(...middle, 1.25),
      "-": () => map.zoomAt(...middle, 0.8),
      ArrowLeft: () => {
        map.camera.x -= step;
        map.move();
      },
      ArrowRight: () => {
        map.camera.x += step;
        map.move();
      },
      ArrowUp: () => {
        map.camera.y += step;
        map.move();
      },
      ArrowDown: () => {
        map.camera.y -= step;
        map.move();
      },
    };
    if (!acts[e.key] || (e.key === "Escape" && !map.chosenCount)) return;
    e.preventDefault();
    e.stopPropagation(); // otherwise Escape would also close the image's panel
    acts[e.key]();
  }
}
