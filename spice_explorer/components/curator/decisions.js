// Decisions: what has been decided in this run, by whom ever. One's own show at once, are sent by the
// outbox and confirmed by its answers; what others decide comes by asking.

/**
 * A decision about images, on its way to the server.
 * @typedef {object} Op
 * @property {string} action
 * @property {number[]} ids
 * @property {string} reviewer
 * @property {number} seen the row of the log that was known then
 * @property {number} [class]
 * @property {number[]} [classes]
 * @property {string} [text]
 * @property {number[]} [near] the images of the decision that is undone or done again
 * @property {string} [error] why it was refused
 */

/**
 * Who hears of what came of decisions.
 * @typedef {object} Hearer
 * @property {() => void} news something is to be drawn
 * @property {(op: Op) => void} refused
 * @property {(op: Op, ids: number[]) => void} turned an undo or redo has changed these images
 * @property {(row: number) => void} written some were written
 * @property {(list: any[]) => void} classes the classes that there are now
 */

class Decisions {
  /**
   * @param {Server} server
   * @param {{row: number, bytes: ArrayBuffer}} images as they are in row `row` of the log
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
    this.last = ids;
    this.outbox.put(op);
  }

  // An accept says which classes were found right: another reviewer may be changing them just now.
  accepted(action, ids) {
    if (action !== "accept") return {};
    const classes = ids.map((id) => this.labels.classOf(id));
    return classes.includes(COMING) ? {} : { classes };
  }

  // Undo or redo. The server knows of which decision; `near`, where this tab took it, tells the image.
  turn(action, reviewer) {
    const [from, to] = action === "undo" ? [this.done, this.undone] : [this.undone, this.done];
    const near = from.pop();
    if (near) to.push(near);
    this.outbox.put({ action, ids: [], near, reviewer, seen: this.row });
  }

  // What others have done meanwhile; while decisions wait, their answers will tell.
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

  // `ids`: images whose decisions do not wait any more. An answer that was overtaken is no news.
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
    }
    this.labels.settle([...ids, ...changed.ids], this.outbox.waiting);
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

  // What was refused is not there to be undone; an undo that was refused leaves what it was about.
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
