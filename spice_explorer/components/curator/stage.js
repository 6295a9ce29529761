// Stage: one large picture with a strip of its neighbours, or a page of thumbnails; and the end of the queue.

const TILE_SIDE = 84;
const TILE_GAP = 8;
const CAPTION_HEIGHT = 20;
const STRIP_SIDE = 62;
const STRIP_BEFORE = 2;
const AHEAD = 6;

class Stage {
  /**
   * @param {HTMLElement} root
   * @param {Pictures} pictures
   * @param {(place: number, event: MouseEvent) => void} press a tile was clicked
   * @param {() => void} sized the number of tiles that fit has changed
   */
  constructor(root, pictures, press, sized) {
    this.strip = part(root, ".strip");
    this.page = part(root, ".page");
    this.pager = part(root, ".pager");
    this.finish = part(root, ".finish");
    this.pages = part(root, ".pages");
    this.marking = part(root, ".marking");
    this.root = root;
    this.pictures = pictures;
    this.perPage = 1;
    this.inStrip = 1;
    this.round = new Tiles(this.strip, pictures, press);
    this.tiles = new Tiles(this.page, pictures, press);
    this.watcher = new ResizeObserver(() => {
      if (this.fit()) sized();
    });
    this.watcher.observe(root);
  }

  // Fits rows of tiles of about TILE_SIDE into the height; true if their number has changed.
  fit() {
    const { offsetWidth: wide, offsetHeight: high } = this.root;
    const inner = wide - 24;
    const free = high - 62 + TILE_GAP;
    if (!wide) return false;
    const rows = Math.max(1, Math.round(free / (TILE_SIDE + CAPTION_HEIGHT + TILE_GAP)));
    const side = Math.max(TILE_SIDE / 2, Math.min(inner, Math.floor(free / rows) - CAPTION_HEIGHT - TILE_GAP));
    const before = [this.perPage, this.inStrip].join();
    this.across = Math.max(1, Math.floor((inner + TILE_GAP) / (side + TILE_GAP)));
    this.perPage = rows * this.across;
    this.inStrip = Math.max(3, Math.floor(inner / (STRIP_SIDE + 6)));
    this.page.style.gridTemplateColumns = `repeat(${this.across}, ${side}px)`;
    return before !== [this.perPage, this.inStrip].join();
  }

  // The first place on the page of the current image.
  start(queue) {
    return Math.floor(clamp(queue.at, 0, Math.max(0, queue.length - 1)) / this.perPage) * this.perPage;
  }

  // The images on the page of the current image.
  shown(queue) {
    return queue.ids.subarray(this.start(queue), this.start(queue) + this.perPage);
  }

  drawSingle(queue, about) {
    const first = clamp(queue.at - STRIP_BEFORE, 0, Math.max(0, queue.length - this.inStrip));
    this.round.draw(first, queue.ids.subarray(first, first + this.inStrip), queue.current, new Set(), about);
    const ahead = this.ahead(queue);
    this.pictures.show(queue.ended ? undefined : queue.current, ahead[0]);
    this.pictures.ahead(ahead);
  }

  // The images that come next, as far as they need a decision.
  ahead(queue) {
    let place = queue.at;
    const places = Array.from({ length: AHEAD }, () => (place = queue.next(place + 1)));
    return places.filter((one) => one < queue.length).map((one) => queue.ids[one]);
  }

  drawGrid(queue, marks, about) {
    const first = this.start(queue);
    const { perPage } = this;
    this.tiles.draw(first, this.shown(queue), queue.current, marks, about);
    const [page, pages] = [Math.floor(first / perPage) + 1, Math.ceil(queue.length / perPage)];
    const [back, next] = this.pager.querySelectorAll("button");
    [back.disabled, next.disabled] = [page <= 1, page >= pages];
    const last = Math.min(first + perPage, queue.length);
    this.pages.textContent = queue.length ? `${number(first + 1)}–${number(last)} of ${number(queue.length)}` : "";
    this.marking.textContent = marks.size ? `${number(marks.size)} marked` : "";
    part(this.pager, "[data-command=clear]").hidden = !marks.size;
    const after = queue.ids.subarray(first + perPage, first + 2 * perPage);
    const coming = `${after[0]} ${after.length}`;
    if (this.coming !== coming) this.pictures.thumbsAhead(after);
    this.coming = coming;
  }

  // The end of the queue: how many images are left, and what to do next.
  drawEnd(queue, left, shown) {
    const [title, words, button] = /** @type {HTMLElement[]} */ ([...this.finish.children]);
    this.finish.hidden = !shown;
    button.hidden = left === 0;
    if (!queue.length) {
      title.textContent = "This queue is empty";
      words.textContent = "Nothing to decide here. Choose another queue above.";
    } else if (left === 0) {
      title.textContent = "Queue done";
      const done = `${several(queue.length, "image has", "images have")} an answer; none are left.`;
      words.textContent = `${done} Choose the next queue above, or train with your decisions.`;
    } else {
      title.textContent = "End of the queue";
      const passed = `${several(left, "image was", "images were")} skipped`;
      words.textContent = `${passed} and still ${left === 1 ? "needs" : "need"} an answer.`;
      button.textContent = left === 1 ? "Go to it (Enter)" : "Go to the first one (Enter)";
    }
  }

  // Before the images have loaded; `why` says what went wrong.
  drawWait(why) {
    const [title, words, button] = /** @type {HTMLElement[]} */ ([...this.finish.children]);
    this.finish.hidden = false;
    title.textContent = why ? "The images could not be loaded" : "Loading images…";
    words.textContent = why ? `${capital(why)}.` : "";
    button.hidden = !why;
    button.textContent = "Try again";
  }
}
