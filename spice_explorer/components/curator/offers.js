// Offers: the suggestion for the current image, its key, and the order that follows what the server has learned.

const LEARN_MS = 400;
// A suggestion that has only just come is not what the key was pressed for.
const LOOK_MS = 300;
// The queue whose order is that of the suggestions.
const LEARNED_QUEUE = "unsure";

class Offers {
  /** @param {Curator} curator */
  constructor(curator) {
    this.curator = curator;
  }

  // The server has learned from answers; while it still does, it is asked again soon.
  learned(underway) {
    clearTimeout(this.learning);
    if (underway && !this.closed) this.learning = setTimeout(() => this.curator.look(), LEARN_MS);
    this.reorder();
  }

  // The first place whose image may be another one: behind the current image, or the current page of the grid.
  get behind() {
    const { queue, stage, tiled } = this.curator;
    return tiled ? stage.start(queue) + stage.perPage : queue.at + 1;
  }

  // Once the server has learned again, the images to come are in its new order. A failure leaves them as they are.
  async reorder() {
    const { queue, data, decisions } = this.curator;
    const { learned } = decisions.suggestions;
    const follows = [queue?.name, data.queue.name].every((name) => name === LEARNED_QUEUE);
    if (this.reordering || !follows || !learned || queue.learned === learned) return;
    this.reordering = true;
    const ids = await column({ url: data.queue.address }, Uint32Array).catch(() => undefined);
    this.reordering = false;
    queue.learned = learned; // whatever came of it: the next time that it has learned
    if (!ids || this.curator.queue !== queue) return;
    queue.reorder(ids, this.behind);
    this.curator.draw();
  }

  // Has the suggestions of the current image and the next ones fetched.
  fetch() {
    const { queue, stage, decisions } = this.curator;
    if (!queue.ended && !queue.mark) decisions.suggestions.want([queue.current, ...stage.ahead(queue)]);
  }

  // For the current image, if it needs an answer and the suggestion is news: another class than shown, or surer than
  // the model is. An audit measures suggestions, so there they are not shown.
  get current() {
    const {
      queue,
      columns,
      classes,
      tiled,
      marks,
      decisions: { labels, suggestions },
    } = this.curator;
    if (queue.ended || queue.mark || (tiled && marks.size) || !queue.open(queue.current)) return undefined;
    const found = suggestions.of(queue.current);
    if (!found || !classes.by.has(found.class)) return undefined;
    const same = labels.classOf(queue.current) === found.class;
    return same && !(found.sure > columns?.sure?.[queue.current]) ? undefined : found;
  }

  // Answers with it.
  take() {
    const { curator, current } = this;
    if (curator.refuse()) return;
    if (!current) curator.say("Your answers suggest nothing else here.", "quiet");
    else if (performance.now() - current.since < LOOK_MS)
      curator.say("The suggestion has just come: look first.", "quiet");
    else curator.give(current.class);
  }

  close() {
    this.closed = true;
    clearTimeout(this.learning);
  }
}
