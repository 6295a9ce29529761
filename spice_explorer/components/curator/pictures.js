// Pictures: the few large ones shown now or next, fetched ahead of time.

const KEPT_PICTURES = 24;

class Pictures {
  constructor() {
    this.kept = new Map();
  }

  // Another run or other images: discard what is kept.
  take({ start, end }) {
    if (this.start === start && this.end === end) return;
    this.start = start;
    this.end = end;
    this.kept.clear();
  }

  thumb(id) {
    return `${this.start}${id}${this.end}`;
  }

  full(id) {
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
    image.src = `${this.thumb(id)}&full=1`;
    return image;
  }

  ahead(ids) {
    for (const id of ids) if (!this.kept.has(id)) this.full(id);
  }

  // The browser caches thumbnails, so fetching them once is enough.
  thumbsAhead(ids) {
    this.coming = Array.from(ids, (id) => make("img", { src: this.thumb(id) }));
  }
}
