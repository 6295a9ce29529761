// Pictures: the single picture, whose original is fetched after its thumbnail, and thumbnails fetched ahead of time.

const KEPT_PICTURES = 24;

class Pictures {
  /** @param {Viewer} viewer */
  constructor(viewer) {
    this.viewer = viewer;
    this.originals = new Originals(() => this.improve());
    /** @type {Map<number, HTMLImageElement>} */
    this.kept = new Map();
  }

  // Another run or other images: discards what is kept, and returns true.
  take({ thumbs: { start, end }, facts, sharp }) {
    this.facts = facts;
    this.sharp = sharp;
    if (this.start === start && this.end === end) return false;
    this.start = start;
    this.end = end;
    this.kept.clear();
    this.originals.clear();
    return true;
  }

  thumb(id) {
    return `${this.start}${id}${this.end}`;
  }

  // Where the facts about an image are; undefined without an image.
  about(id) {
    return id === undefined ? undefined : `${this.facts.start}${id}${this.facts.end}`;
  }

  // Shows an image; of the `next` one the original is fetched, too. A thumbnail has every pixel of a tiny image.
  show(id, next) {
    this.viewer.show(id === undefined ? undefined : this.image(id));
    const full = (one) => (one === undefined || this.sharp ? undefined : `${this.thumb(one)}&full=1`);
    this.wanted = [full(id), full(next)];
    this.improve();
  }

  improve() {
    this.viewer.improve(this.originals.want(...this.wanted));
  }

  image(id) {
    const image = this.kept.get(id) ?? this.bring(id);
    this.kept.delete(id);
    this.kept.set(id, image); // move it to the end, as the last used
    if (this.kept.size > KEPT_PICTURES) this.kept.delete(this.kept.keys().next().value);
    return image;
  }

  bring(id) {
    const image = make("img", { alt: `Image ${id}`, draggable: false });
    image.onerror = () => {
      image.alt = "picture missing";
      this.kept.delete(id);
    };
    image.src = this.thumb(id);
    return image;
  }

  ahead(ids) {
    for (const id of ids) if (!this.kept.has(id)) this.image(id);
  }

  // The browser caches thumbnails, so fetching them once is enough.
  thumbsAhead(ids) {
    this.coming = Array.from(ids, (id) => make("img", { src: this.thumb(id) }));
  }
}
