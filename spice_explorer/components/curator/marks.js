// Marks: the images in the grid that the next action applies to, marked singly or as a range.

class Marks {
  constructor() {
    this.clear();
  }

  get size() {
    return this.ids.size;
  }

  clear() {
    this.ids = new Set();
    this.anchor = undefined;
  }

  has(id) {
    return this.ids.has(id);
  }

  toggle(place, id) {
    if (!this.ids.delete(id)) this.ids.add(id);
    this.fix(place);
  }

  // Anchors a range here; images marked so far stay marked whatever the range covers.
  fix(place) {
    this.anchor = place;
    this.before = new Set(this.ids);
  }

  // Marks everything between the anchor and `to`, besides the images marked before.
  extend(from, to, queue) {
    if (this.anchor === undefined) this.fix(from);
    const [low, high] = [Math.min(this.anchor, to), Math.max(this.anchor, to)];
    this.ids = new Set([...this.before, ...queue.subarray(low, high + 1)]);
  }

  // The queue was made again: only these images stay marked, and places mean nothing any more.
  keep(those) {
    this.ids = new Set([...this.ids].filter(those));
    this.anchor = undefined;
  }

  add(ids) {
    for (const id of ids) this.ids.add(id);
  }
}
