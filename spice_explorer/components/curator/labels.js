// Labels: class and state of every image. `base` is what the server has confirmed; `now` also includes the
// decisions that still wait, so a decision shows before it is saved.

const UNDECIDED = 0;
const DECIDED = 1;
const REJECTED = 2;
const EXCLUDED = 3;
const DISPUTED = 128;
// The class of images whose new class is still being created: its number comes with the answer.
const COMING = 0xffff;
const STATE_OF = {
  accept: DECIDED,
  relabel: DECIDED,
  "new class": DECIDED,
  reject: REJECTED,
  exclude: EXCLUDED,
};

class Labels {
  /**
   * @param {number} n
   * @param {ArrayBuffer} bytes class and state of every image
   */
  constructor(n, bytes) {
    this.n = n;
    this.base = { classes: new Uint16Array(bytes, 0, n), states: new Uint8Array(bytes, 2 * n, n) };
    this.now = { classes: this.base.classes.slice(), states: this.base.states.slice() };
  }

  classOf(id) {
    return this.now.classes[id];
  }

  stateOf(id) {
    return this.now.states[id] & 3;
  }

  disputed(id) {
    return this.now.states[id] >= DISPUTED;
  }

  // Undecided, or two reviewers disagree.
  open(id) {
    return this.stateOf(id) === UNDECIDED || this.disputed(id);
  }

  /** @param {Op} op */
  apply({ action, ids, class: number }) {
    const state = STATE_OF[action];
    const { classes, states } = this.now;
    if (state === undefined) return;
    for (const id of ids) {
      states[id] = state;
      if (action === "relabel") classes[id] = number;
      if (action === "new class") classes[id] = COMING;
    }
  }

  // Stores the server's class and state for some images.
  confirm({ ids, classes, states }) {
    ids.forEach((id, i) => {
      this.base.classes[id] = classes[i];
      this.base.states[id] = states[i];
    });
  }

  // Recomputes these images: the confirmed state, then the waiting decisions.
  settle(ids, waiting) {
    for (const id of ids) {
      this.now.classes[id] = this.base.classes[id];
      this.now.states[id] = this.base.states[id];
    }
    for (const op of waiting) this.apply(op);
  }

  // The number of images in each state.
  get tally() {
    const found = [0, 0, 0, 0];
    const { states } = this.now;
    for (let i = 0; i < states.length; i++) found[states[i] & 3]++;
    return found;
  }
}
