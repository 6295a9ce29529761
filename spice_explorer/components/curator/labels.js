// Labels: class, state and provenance of every image. `base` is what the server has confirmed; `now` also includes the
// decisions that still wait, so a decision shows before it is saved.

const UNDECIDED = 0;
const DECIDED = 1;
const REJECTED = 2;
const EXCLUDED = 3;
const DISPUTED = 128;
// Who gave a label: nobody but the model, a spread, a person with others at once, a person who looked at it.
const PROVENANCES = ["model", "voted", "bulk", "seen"];
const BULK = 2;
const SEEN = 3;
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
   * @param {ArrayBuffer} bytes class, state and provenance of every image
   */
  constructor(n, bytes) {
    this.n = n;
    const [states, provenances] = [2, 3].map((at) => new Uint8Array(bytes, at * n, n));
    this.base = { classes: new Uint16Array(bytes, 0, n), states, provenances };
    this.now = { classes: this.base.classes.slice(), states: states.slice(), provenances: provenances.slice() };
  }

  classOf(id) {
    return this.now.classes[id];
  }

  stateOf(id) {
    return this.now.states[id] & 3;
  }

  // Who gave a decided label: "seen", "bulk" or "voted"; "" for other images.
  whoSaid(id) {
    return this.stateOf(id) === DECIDED ? PROVENANCES[this.now.provenances[id]] : "";
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
    const { classes, states, provenances } = this.now;
    if (state === undefined) return;
    for (const id of ids) {
      states[id] = state;
      if (state === DECIDED) provenances[id] = ids.length === 1 ? SEEN : BULK; // as the server has it
      if (action === "relabel") classes[id] = number;
      if (action === "new class") classes[id] = COMING;
    }
  }

  // Stores the server's class, state and provenance for some images.
  confirm({ ids, classes, states, provenances = [] }) {
    ids.forEach((id, i) => {
      this.base.classes[id] = classes[i];
      this.base.states[id] = states[i];
      this.base.provenances[id] = provenances[i];
    });
  }

  // Recomputes these images: the confirmed state, then the waiting decisions.
  settle(ids, waiting) {
    for (const id of ids) {
      this.now.classes[id] = this.base.classes[id];
      this.now.states[id] = this.base.states[id];
      this.now.provenances[id] = this.base.provenances[id];
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

  // The number of decided images by who gave the label, in the order of PROVENANCES.
  get gave() {
    const found = [0, 0, 0, 0];
    const { states, provenances } = this.now;
    for (let i = 0; i < states.length; i++) if ((states[i] & 3) === DECIDED) found[provenances[i]]++;
    return found;
  }
}
