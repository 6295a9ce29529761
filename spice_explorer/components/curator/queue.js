// Queue: the images to review, in order, and the current place. The place after the last is the end.

class Queue {
  /**
   * @param {Uint32Array} ids
   * @param {string} mark added to each decision; a queue with a mark asks about all its images, decided or not
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

  // Goes to an image; false if it is not in the queue.
  find(id) {
    const place = this.ids.indexOf(id);
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
