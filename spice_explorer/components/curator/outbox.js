// Outbox: decisions on their way to the server, in order, one request at a time. Each has a unique key, so
// the server saves it only once, however often it is sent.

const WAITS_MS = [500, 1000, 2000, 4000, 8000, 15000];
const MOST_SENT = 200;
// The name of this tab, for the log.
const visit = () => {
  window.spiceVisit ??= token();
  return window.spiceVisit;
};

class Outbox {
  /**
   * @param {Server} server
   * @param {{done: (ops: Op[], answer: any) => void, moved: () => void}} hear called with answers to ops, and on other changes
   */
  constructor(server, hear) {
    this.server = server;
    this.hear = hear;
    this.waiting = [];
    this.failures = 0;
    this.trouble = "";
    this.warn = (e) => e.preventDefault();
    this.online = () => this.send();
    window.addEventListener("online", this.online);
  }

  /** @param {Op} op */
  put(op) {
    if (!this.waiting.length) window.addEventListener("beforeunload", this.warn);
    this.waiting.push({ key: token(), ...op });
    if (!this.failures) this.send();
  }

  // The first ops by the same person with the same known row. An undo is sent alone, so that its answer
  // contains only its own changes.
  get batch() {
    const [first] = this.waiting;
    const alone = (op) => ["undo", "redo"].includes(op.action);
    if (alone(first)) return [first];
    const like = (op) => op.seen === first.seen && op.reviewer === first.reviewer && !alone(op);
    const end = this.waiting.findIndex((op) => !like(op));
    return this.waiting.slice(0, Math.min(end < 0 ? Infinity : end, MOST_SENT));
  }

  async send() {
    if (this.sending || !this.waiting.length) return;
    clearTimeout(this.timer);
    this.sending = true;
    const batch = this.batch;
    const answer = await this.answered(batch);
    this.sending = false;
    if (answer) this.settle(batch, answer);
    this.hear.moved();
    if (answer) this.send();
  }

  // The answer; a refusal rejects every op of the batch. Undefined if none came: it is sent again later.
  async answered(batch) {
    const [{ reviewer, seen }] = batch;
    const ops = batch.map(({ reviewer: _reviewer, seen: _seen, near: _near, ...op }) => op);
    try {
      const answer = await this.server.act({ reviewer, visit: visit(), seen, ops });
      this.failures = 0;
      this.trouble = "";
      return answer;
    } catch (error) {
      if (error instanceof Refusal) return { results: batch.map(({ key }) => ({ key, error: error.message })) };
      this.trouble = error.message;
      this.timer = setTimeout(() => this.send(), WAITS_MS[Math.min(this.failures++, WAITS_MS.length - 1)]);
      return undefined;
    }
  }

  // An op without a result stays, and is sent again.
  settle(batch, answer) {
    const results = new Map(answer.results.map((one) => [one.key, one]));
    const done = batch.filter((op) => results.has(op.key));
    this.waiting = this.waiting.filter((op) => !results.has(op.key));
    if (!this.waiting.length) window.removeEventListener("beforeunload", this.warn);
    this.hear.done(
      done.map((op) => ({ ...op, error: results.get(op.key).error })),
      answer,
    );
    if (this.closed && !this.waiting.length) this.close();
  }

  // The component is removed; waiting decisions are still sent.
  close() {
    this.closed = true;
    if (!this.waiting.length) window.removeEventListener("online", this.online);
  }
}
