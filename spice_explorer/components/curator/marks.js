// Marks: the images of the grid on which an action acts together, one by one or as a range.

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

  // From here on a range is counted; what is marked now stays whatever the range does.
  fix(place) {
    this.anchor = place;
    this.before = new Set(this.ids);
  }

  // Everything between the anchor and `to`, beside what was marked before.
  extend(from, to, queue) {
    if (this.anchor === undefined) this.fix(from);
    const [low, high] = [Math.min(this.anchor, to), Math.max(this.anchor, to)];
    this.ids = new Set([...this.before, ...queue.subarray(low, high + 1)]);
  }

  add(ids) {
    for (const id of ids) this.ids.add(id);
  }
}
