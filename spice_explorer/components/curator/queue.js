// Queue: the images to look at, in order, and the place in it. The place after the last is the end.

class Queue {
  /**
   * @param {Uint32Array} ids
   * @param {string} mark goes with each decision; such a queue asks about all its images, decided or not
   * @param {Labels} labels
   */
  constructor(ids, mark, labels) {
    this.ids = ids;
    this.mark = mark;
    this.labels = labels;
    this.at = 0;
    this.answered = new Uint8Array(labels.n);
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

  // Goes to an image; false when it is not in the queue.
  find(id) {
    const place = this.ids.indexOf(id);
    if (place >= 0) this.at = place;
    return place >= 0;
  }

  // These images have got an answer here, or theirs was taken back.
  answer(ids, answered = true) {
    for (const id of ids) this.answered[id] = Number(answered);
  }

  // Whether an image still asks for a decision.
  open(id) {
    return this.mark ? !this.answered[id] : this.labels.open(id);
  }

  // The first place from `from` on whose image is open, else the end.
  next(from) {
    for (let i = from; i < this.length; i++) if (this.open(this.ids[i])) return i;
    return this.length;
  }

  // How many images are still open.
  get left() {
    let found = 0;
    for (let i = 0; i < this.length; i++) if (this.open(this.ids[i])) found++;
    return found;
  }
}
