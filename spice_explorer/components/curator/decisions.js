// Decisions: everything decided in this run, by any reviewer. Those of this tab show at once, are sent by
// the outbox and confirmed by its answers; those of others are polled.

/**
 * A decision about images, on its way to the server.
 * @typedef {object} Op
 * @property {string} action
 * @property {number[]} ids
 * @property {string} reviewer
 * @property {number} seen the last row of the log that was known at the time
 * @property {number} [class]
 * @property {number[]} [classes]
 * @property {string} [text]
 * @property {string} [mark] of the queue: "audit" if its images are drawn at random
 * @property {number[]} [near] the images of the decision to undo or redo
 * @property {string} [error] why it was rejected
 */

/**
 * Callbacks for the results of decisions.
 * @typedef {object} Hearer
 * @property {() => void} news something needs drawing
 * @property {(op: Op) => void} refused
 * @property {(op: Op, ids: number[]) => void} turned an undo or redo has changed these images
 * @property {(ids: number[]) => void} reopened these images need a decision again
 * @property {(row: number) => void} written decisions up to this row were saved
 * @property {(list: any[]) => void} classes the current classes
 * @property {(underway: boolean) => void} learned the server has learned from answers, or still does
 */

class Decisions {
  /**
   * @param {Server} server
   * @param {{row: number, bytes: ArrayBuffer}} images as of row `row` of the log
   * @param {number} n
   * @param {Hearer} hear
   */
  constructor(server, { row, bytes }, n, hear) {
    this.server = server;
    this.row = row;
    this.hear = hear;
    this.labels = new Labels(n, bytes);
    this.disputes = new Map();
    this.undoText = null;
    this.redoText = null;
    this.unseen = "";
    this.last = [];
    this.done = [];
    this.undone = [];
    this.suggestions = new Suggestions(server, () => this.hear.news());
    this.outbox = new Outbox(server, {
      done: (ops, answer) => this.answered(ops, answer),
      moved: () => this.hear.news(),
    });
  }

  get waiting() {
    return this.outbox.waiting.length;
  }

  put(action, ids, reviewer, more = {}) {
    /** @type {Op} */
    const op = { action, ids, reviewer, seen: this.row, ...more, ...this.accepted(action, ids) };
    this.labels.apply(op);
    this.done.push(ids);
    this.undone = [];
    if (ids.length) this.last = ids;
    this.outbox.put(op);
  }

  // An accept names the classes it confirms, because another reviewer may be changing them.
  accepted(action, ids) {
    if (action !== "accept") return {};
    const classes = ids.map((id) => this.labels.classOf(id));
    return classes.includes(COMING) ? {} : { classes };
  }

  // Undo or redo. The server knows which decision; `near` gives its images if it was made in this tab.
  turn(action, reviewer) {
    const [from, to] = action === "undo" ? [this.done, this.undone] : [this.undone, this.done];
    const near = from.pop();
    if (near) to.push(near);
    this.outbox.put({ action, ids: [], near, reviewer, seen: this.row });
  }

  // Fetches what others have decided. While decisions wait, their answers will include it.
  async look(reviewer) {
    if (document.hidden || this.looking || this.waiting) return;
    this.looking = true;
    try {
      this.receive(await this.server.since(this.row, reviewer), []);
      this.unseen = "";
    } catch (error) {
      this.unseen = error.message;
    }
    this.looking = false;
    this.hear.news();
  }

  // `ids`: images whose decisions no longer wait. An answer older than the last one is ignored.
  receive(answer, ids) {
    const news = answer.row >= this.row;
    const changed = news ? answer.changed : { ids: [] };
    if (news) {
      this.row = answer.row;
      this.labels.confirm(changed);
      this.disputes = new Map(answer.disputes.map((one) => [one.id, one.answers]));
      this.undoText = answer.undo;
      this.redoText = answer.redo;
      this.hear.classes(answer.classes);
      this.suggestions.follow(answer.learned);
      this.hear.learned(answer.learning);
    }
    const touched = [...ids, ...changed.ids];
    const closed = touched.filter((id) => !this.labels.open(id));
    this.labels.settle(touched, this.outbox.waiting);
    const reopened = closed.filter((id) => this.labels.open(id));
    if (reopened.length) this.hear.reopened(reopened);
  }

  answered(ops, answer) {
    this.receive(
      answer,
      ops.flatMap((op) => op.ids),
    );
    for (const op of ops) {
      if (op.error) this.refuse(op);
      else if (op.action === "undo" || op.action === "redo") this.hear.turned(op, answer.changed.ids);
    }
    if (ops.some((op) => !op.error)) this.hear.written(this.row);
  }

  // A rejected decision cannot be undone; after a rejected undo, its decision still stands.
  refuse(op) {
    const { action, ids, near } = op;
    const without = (list) => list.filter((one) => one !== ids && one !== near);
    this.done = without(this.done);
    this.undone = without(this.undone);
    if (near) (action === "undo" ? this.done : this.undone).push(near);
    this.hear.refused(op);
  }

  close() {
    this.outbox.close();
  }
}
