// The curator: connects the parts, makes decisions, moves through the queue, and notifies the page.

const POLL_MS = 3000;
const TELL_MS = 1500;
const VIEW_MEMORY = "spice-curator-view";

class Curator {
  /** @param {HTMLElement} root */
  constructor(root) {
    const find = (selector) => part(root, selector);
    this.root = find(".curator");
    this.keys = new Keys();
    this.viewer = new Viewer(find(".picture"));
    this.pictures = new Pictures(this.viewer);
    this.files = new Facts(find(".facts"), ({ fit }) => {
      this.viewer.cutBy(fit);
      this.draw();
    });
    this.stage = new Stage(
      find(".stage"),
      this.pictures,
      (place, e) => this.press(place, e),
      () => this.draw(),
    );
    this.classes = new Classes(find(".chips"), this.keys, (number) => this.give(number));
    this.about = new About(find(".about"), this.classes, this.keys);
    this.question = new Question(find(".ask"), () => this.focus());
    this.naming = new Naming(
      find(".names"),
      this.classes,
      (number, text) => this.decisions.put("rename", [], this.data.reviewer, { class: number, text }),
      () => this.focus(),
    );
    this.keyboard = new Keyboard(
      find(".keys"),
      this.keys,
      () => this.draw(),
      () => this.uncover(),
    );
    this.marks = new Marks();
    this.place = new Place();
    this.sought = [];
    this.pace = new Pace();
    this.offers = new Offers(this);
    this.face = new Face(this.root, this);
    this.hands = new Hands(this.root, this);
    this.view = memory.get(VIEW_MEMORY) === "grid" ? "grid" : "single";
    this.watch();
  }

  // -- data from the page ------------------------------------------------------------------------

  take(data, tell) {
    const before = this.data;
    this.data = data;
    this.tell = tell;
    if (this.pictures.take(data)) this.files.clear();
    this.classes.picture(data.typical);
    if (before?.key !== data.key) this.begin();
    else if (before.queue.version !== data.queue.version) this.bring();
    else this.look();
    if (before?.reviewer !== data.reviewer || before.readOnly !== data.readOnly) this.face.hush();
    this.draw();
  }

  // Another run, or the same run created again: discard everything about the old one.
  begin() {
    this.decisions?.close();
    this.decisions = undefined;
    this.queue = undefined;
    this.columns = undefined;
    this.wanted = undefined;
    this.failed = undefined;
    this.marks.clear();
    this.classes.take(this.data.classes);
    this.load();
  }

  async load() {
    const { key, api, n, columns } = this.data;
    const server = new Server(api);
    const stale = () => this.data.key !== key;
    try {
      const found = await server.images(n);
      if (stale()) return;
      this.decisions = new Decisions(server, found, n, this.hearer);
    } catch (error) {
      if (!stale()) this.fail(error);
      return;
    }
    await this.bring();
    this.look();
    const { label, confidence, agreement } = columns;
    const kinds = [
      [label, Uint16Array],
      [confidence, Float32Array],
      [agreement, Float32Array],
    ];
    const coming = kinds.map(([at, Kind]) => column(at, Kind).catch(() => undefined)); // these are optional
    const [said, sure, agreed] = await Promise.all(coming);
    if (stale()) return;
    this.columns = { said, sure, agreed };
    this.draw();
  }

  // Fetches the queue. It begins at its first open image; if it was here before, at its current image.
  async bring() {
    if (!this.decisions) return; // `load` will do it
    const { key, queue } = this.data;
    const stale = () => this.data.key !== key || this.data.queue.version !== queue.version;
    let ids;
    try {
      ids = await column({ url: queue.address }, Uint32Array);
    } catch (error) {
      if (!stale()) this.fail(error);
      return;
    }
    if (stale()) return;
    const again = this.queue?.name === queue.name;
    this.queue = new Queue(ids, queue, this.decisions.labels, this.queue);
    this.failed = "";
    this.marks.keep((id) => again && this.queue.has(id));
    const wanted = [this.sought, this.place.of(key, queue.name)].map((some) =>
      some.filter((id) => this.queue.has(id) && this.queue.open(id)),
    );
    this.sought = [];
    if (!wanted.some((some) => this.queue.find(some))) this.queue.go(this.queue.next(0));
    this.draw();
    this.arrive();
  }

  // Shows the error; the user decides when to try again.
  fail(error) {
    this.failed = error.message;
    this.draw();
  }

  again() {
    if (this.failed) {
      this.failed = "";
      return this.decisions ? this.bring() : this.load();
    }
    this.queue?.go(this.queue.next(0));
    this.draw();
  }

  // Takes the focus when first shown, unless the user is typing somewhere.
  arrive() {
    if (this.arrived) return;
    this.arrived = true;
    let holder = document.activeElement;
    while (holder?.shadowRoot?.activeElement) holder = holder.shadowRoot.activeElement;
    if (!holder?.matches("input, textarea, select, [contenteditable=true]")) this.focus();
  }

  draw() {
    this.face.draw();
    if (this.queue) this.place.keep(this.data.key, this.queue);
  }

  say(...words) {
    this.face.say(...words);
  }

  focus() {
    this.root.focus({ preventScroll: true });
  }

  // -- results of decisions ----------------------------------------------------------------------

  watch() {
    this.looking = () => this.look();
    this.watching = setInterval(this.looking, POLL_MS);
    document.addEventListener("visibilitychange", this.looking);
  }

  look() {
    this.decisions?.look(this.data.reviewer);
  }

  get hearer() {
    return {
      news: () => this.moved(),
      refused: (op) => this.refused(op),
      turned: (op, ids) => this.turned(op, ids),
      reopened: (ids) => this.refill(ids),
      written: (row) => this.written(row),
      classes: (list) => this.classes.take(list),
      learned: (underway) => this.offers.learned(underway),
    };
  }

  refused({ action, ids, error, class: number }) {
    if (action === "rename") this.naming.refused(number);
    const which = ids.length === 1 && action !== "new class" ? ` (image ${ids[0]})` : "";
    this.queue.answer(ids, false);
    this.say(`${capital(error)}${which}`, "bad");
  }

  // An undo or redo was saved: go back to the first of its images, when they are in the queue again.
  turned({ action, near = [] }, ids) {
    const there = new Set(ids);
    const mine = near.filter((id) => there.has(id));
    const targets = mine.length ? mine : ids;
    this.queue.answer(ids, action === "redo");
    const what = ids.length === 1 ? `image ${ids[0]}` : ids.length ? several(ids.length, "image") : "a name";
    this.say(`${action === "undo" ? "Undone" : "Redone"}: ${what}`, "quiet");
    this.sought = this.queue.find(targets) ? [] : targets;
    if (this.queue.mark) this.refill(ids); // an audit asks again, whatever the image's state
  }

  // Images are undecided again, by whatever undo: the queue may have been made without them.
  refill(ids) {
    if (this.queue && ids.some((id) => !this.queue.has(id))) this.bring();
  }

  // Notifies the rest of the page once decisions pause.
  written(row) {
    clearTimeout(this.telling);
    if (!this.closed) this.telling = setTimeout(() => this.tell("changed", row), TELL_MS);
  }

  moved() {
    if (this.closed) return;
    if (this.wanted && !this.decisions.waiting) {
      this.tell("propagate", { ids: this.wanted });
      this.wanted = undefined;
    }
    this.draw();
  }

  // -- deciding ----------------------------------------------------------------------------------

  // Why decisions are not possible, or "".
  get blocked() {
    if (this.data.readOnly) return this.data.readOnly;
    if (!this.data.reviewer) return "Type your name above to decide.";
    return this.queue ? "" : "The images are still loading.";
  }

  // The marked images, or else the current one.
  get targets() {
    if (!this.queue) return [];
    if (this.tiled && this.marks.size) return [...this.marks.ids];
    return this.queue.ended ? [] : [this.queue.current];
  }

  decide(action, more = {}) {
    if (this.refuse()) return;
    const ids = this.targets;
    if (!ids.length) return;
    this.decisions.put(action, ids, this.data.reviewer, { text: this.queue.mark, mark: this.queue.mark, ...more });
    this.queue.answer(ids);
    this.pace.add(ids.length);
    this.marks.clear();
    this.advance();
    this.draw();
  }

  // If decisions are not possible, shows why and returns true.
  refuse() {
    if (this.blocked) this.say(this.blocked, "bad");
    return Boolean(this.blocked);
  }

  give(number) {
    if (!this.targets.length || !this.classes.by.has(number)) return;
    this.classes.used(number);
    this.decide("relabel", { class: number });
  }

  makeClass(name) {
    this.classes.coming = name;
    this.decide("new class", { text: name });
  }

  turn(action) {
    if (this.refuse()) return;
    this.decisions.turn(action, this.data.reviewer);
    this.draw();
  }

  settleDispute(place) {
    const { labels, disputes } = this.decisions;
    const { current } = this.queue;
    const answer = disputes.get(current)?.[place];
    if (!answer || !labels.disputed(current)) return;
    this.marks.clear();
    if (answer.state === DECIDED) this.give(answer.class);
    else this.decide(answer.state === REJECTED ? "reject" : "exclude");
  }

  // Gives the class of decided images to those that agree. Python reads the log, so they must be saved first.
  spread() {
    if (this.refuse()) return;
    const { labels, last } = this.decisions;
    const decided = (id) => labels.stateOf(id) === DECIDED;
    const ids = [this.targets, last].map((some) => some.filter(decided)).find((some) => some.length);
    if (!ids)
      return this.say("Assign a class to an image first; you can then give it to the images that agree.", "quiet");
    this.wanted = ids;
    this.moved();
  }

  // -- moving ------------------------------------------------------------------------------------

  get tiled() {
    return this.view === "grid";
  }

  // Goes to the next open image. In the grid, open images on this page come first, also earlier ones.
  advance() {
    const { queue } = this;
    const on = queue.next(queue.at);
    if (!this.tiled) return queue.go(on);
    const first = this.stage.start(queue);
    const end = Math.min(first + this.stage.perPage, queue.length);
    const back = queue.next(first);
    queue.go(on < end || back >= end ? on : back);
  }

  step(by) {
    const { queue, stage } = this;
    if (!this.tiled) queue.go(queue.at + by);
    else {
      const to = stage.start(queue) + by * stage.perPage;
      if (to >= 0 && to < queue.length) queue.go(to);
    }
    this.draw();
  }

  jump(to) {
    const { queue } = this;
    queue.go(Math.min(to, Math.max(0, queue.length - 1)));
    this.draw();
  }

  // An arrow key: moves through the grid, or along the queue.
  walk(key, ranged) {
    const { queue, stage, marks, tiled } = this;
    if (!queue?.length) return false;
    const across = tiled ? stage.across : 0;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[key];
    const from = Math.min(queue.at, queue.length - 1);
    const to = queue.at + by;
    if (to < 0 || to >= queue.length + (tiled ? 0 : 1)) return true;
    if (tiled && ranged) marks.extend(from, to, queue.ids);
    else marks.fix(to);
    queue.go(to);
    this.draw();
    return true;
  }

  press(place, e) {
    const { queue, marks } = this;
    const single = e.ctrlKey || e.metaKey || holder(e, ".check");
    if (this.tiled && e.shiftKey) marks.extend(queue.at, place, queue.ids);
    else if (this.tiled && single) marks.toggle(place, queue.ids[place]);
    else marks.fix(place);
    queue.go(place);
    this.draw();
  }

  markCurrent() {
    if (this.tiled && !this.queue.ended) this.marks.toggle(this.queue.at, this.queue.current);
    this.draw();
  }

  markPage() {
    if (!this.tiled || !this.queue) return false;
    this.marks.add(this.stage.shown(this.queue));
    this.draw();
    return true;
  }

  // False if nothing was marked: others may then handle Escape.
  unmark() {
    if (!this.marks.size) return false;
    this.marks.clear();
    this.draw();
    return true;
  }

  // Zooms or moves the single picture.
  inspect(deed) {
    if (!this.tiled) this.viewer.do(deed);
  }

  turnView() {
    this.view = this.tiled ? "single" : "grid";
    memory.set(VIEW_MEMORY, this.view);
    this.marks.clear();
    this.draw();
  }

  // -- overlays ----------------------------------------------------------------------------------

  get asking() {
    return this.question.open || this.keyboard.open || this.naming.open;
  }

  askClass() {
    if (this.refuse() || !this.targets.length) return;
    this.question.find(this.classes, (number) => this.give(number));
  }

  askName() {
    if (this.refuse() || !this.targets.length) return;
    this.question.name(this.targets.length, (name) => this.makeClass(name));
  }

  askNames() {
    if (!this.refuse()) this.naming.show();
  }

  open() {
    if (this.queue.ended) this.again();
    else this.tell("open", this.queue.current);
  }

  showKeys() {
    this.cover(true);
    this.keyboard.show();
  }

  uncover() {
    this.cover(false);
    this.draw();
    this.focus();
  }

  cover(covered) {
    /** @type {NodeListOf<HTMLElement>} */
    const below = this.root.querySelectorAll(".bar, .work");
    for (const one of below) one.inert = covered;
  }

  close() {
    this.closed = true;
    clearInterval(this.watching);
    clearTimeout(this.telling);
    this.offers.close();
    document.removeEventListener("visibilitychange", this.looking);
    this.stage.watcher.disconnect();
    this.viewer.watcher.disconnect();
    this.pictures.originals.clear();
    this.files.clear();
    this.decisions?.close();
  }
}
