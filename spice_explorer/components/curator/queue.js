// Queue: the images to review, in order, and the current place. The place after the last is the end.

class Queue {
  /**
   * @param {Uint32Array} ids
   * @param {{name: string, mark: string}} about a queue with a mark, which is added to each decision, asks about all
   *   its images, decided or not
   * @param {Labels} labels
   * @param {Queue} [before] the queue that this one replaces; if it is the same, made again, its answers count
   */
  constructor(ids, { name, mark }, labels, before) {
    this.ids = ids;
    this.name = name;
    this.mark = mark;
    this.labels = labels;
    this.at = 0;
    this.learned = 0; // the row of what its order was learned from, if it follows suggestions
    this.answered = before?.name === name ? before.answered : new Uint8Array(labels.n);
    this.there = new Uint8Array(labels.n);
    for (const id of ids) this.there[id] = 1;
  }

  get length() {
    return this.ids.length;
  }

  get current() {
    return this.ids[this.at];
  }

  get ended() {
    return this.at >= this.length;
  }

  go(to) {
    this.at = clamp(to, 0, this.length);
  }

  // From the place `from` on, `ids` come in their order, as far as they were not before it, and then what else is left.
  reorder(ids, from) {
    const passed = this.ids.subarray(0, from);
    const before = new Set(passed);
    const next = ids.filter((id) => !before.has(id));
    const known = new Set(next);
    const rest = this.ids.subarray(from).filter((id) => !known.has(id));
    this.ids = Uint32Array.from([...passed, ...next, ...rest]);
    for (const id of next) this.there[id] = 1;
  }

  has(id) {
    return this.there[id] === 1;
  }

  // Goes to the first of these images in the queue; false if none is in it.
  find(ids) {
    const some = new Set(ids);
    const place = this.ids.findIndex((id) => some.has(id));
    if (place >= 0) this.at = place;
    return place >= 0;
  }

  // These images were answered in this queue, or their answer was undone.
  answer(ids, answered = true) {
    for (const id of ids) this.answered[id] = Number(answered);
  }

  // Whether an image still needs a decision.
  open(id) {
    return this.mark ? !this.answered[id] : this.labels.open(id);
  }

  // The first place from `from` on whose image is open, or else the end.
  next(from) {
    for (let i = from; i < this.length; i++) if (this.open(this.ids[i])) return i;
    return this.length;
  }

  // The number of images that are still open.
  get left() {
    let found = 0;
    for (let i = 0; i < this.length; i++) if (this.open(this.ids[i])) found++;
    return found;
  }
}
