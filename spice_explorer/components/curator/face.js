// Face: draws the curator's state. It is called after every change, and leaves alone what has not changed.

const SENTENCE_MS = 8000;

class Face {
  /**
   * @param {HTMLElement} root
   * @param {Curator} curator
   */
  constructor(root, curator) {
    this.root = root;
    this.curator = curator;
    this.notice = part(root, ".notice");
    this.spoken = part(root, ".spoken");
    /** @type {NodeListOf<HTMLButtonElement>} */
    const commands = root.querySelectorAll("[data-command]");
    this.buttons = [...commands].filter((one) => one.querySelector("kbd"));
    this.bar = new Bar(root);
  }

  draw() {
    const { curator, root } = this;
    const { data, decisions, stage, queue } = curator;
    root.classList.toggle("sharp", data.sharp);
    root.classList.toggle("tiled", curator.tiled);
    stage.fit();
    if (decisions) this.bar.saving(decisions.waiting, decisions.outbox.trouble, decisions.unseen);
    this.drawNotice();
    this.drawButtons();
    if (queue) this.drawQueue();
    else stage.drawWait(curator.failed);
    this.drawFacts();
  }

  drawQueue() {
    const { data, queue, decisions, stage, marks, pace, about, classes, tiled } = this.curator;
    const { left } = queue;
    const { tally: counts, gave } = decisions.labels;
    const tileOf = (id) => this.tileOf(id);
    this.bar.draw({ title: data.queue.title, queue, left, counts, gave, rate: pace.rate });
    if (tiled) stage.drawGrid(queue, marks, tileOf);
    else stage.drawSingle(queue, tileOf);
    stage.drawEnd(queue, left, tiled ? (queue.ended || left === 0) && !marks.size : queue.ended);
    const { facts } = this;
    this.curator.offers.fetch();
    about.draw(facts);
    this.drawFile();
    classes.draw(facts?.class);
    this.speak();
  }

  // The facts about the file of the current image; those of the next one are fetched, too.
  drawFile() {
    const { queue, marks, files, pictures, stage, tiled } = this.curator;
    const hidden = queue.ended || (tiled && marks.size > 0);
    const id = hidden ? undefined : queue.current;
    files.show(pictures.about(id), hidden ? "" : `image ${number(id)}`, pictures.about(stage.ahead(queue)[0]));
  }

  // The last part of the path that the image is called by; undefined before it is known.
  nameOf(id) {
    return this.curator.files.of(this.curator.pictures.about(id))?.name.split("/").pop();
  }

  tileOf(id) {
    const {
      decisions: { labels },
      classes,
    } = this.curator;
    const given = labels.classOf(id);
    const [name, colour] = [classes.nameOf(given), classes.colourOf(given)];
    return { state: labels.stateOf(id), whoSaid: labels.whoSaid(id), disputed: labels.disputed(id), name, colour };
  }

  // Facts about the current image or the marked ones.
  get facts() {
    const {
      queue,
      columns,
      marks,
      decisions: { labels, disputes },
    } = this.curator;
    if (this.curator.tiled && marks.size) return this.marked;
    if (queue.ended) return undefined;
    const id = queue.current;
    return {
      id,
      name: this.nameOf(id),
      state: labels.stateOf(id),
      whoSaid: labels.whoSaid(id),
      disputed: labels.disputed(id),
      class: labels.classOf(id),
      said: columns?.said?.[id],
      sure: columns?.sure?.[id],
      agreed: columns?.agreed?.[id],
      answers: disputes.get(id),
      suggestion: this.curator.offers.current,
    };
  }

  get marked() {
    const { queue, marks, stage } = this.curator;
    const ids = [...marks.ids];
    const here = new Set(stage.shown(queue));
    const [open, elsewhere] = [ids.filter((id) => queue.open(id)), ids.filter((id) => !here.has(id))];
    return { marked: ids.length, open: open.length, elsewhere: elsewhere.length };
  }

  // Attributes for tests, benchmarks and style sheets.
  drawFacts() {
    const { queue, decisions, view, blocked } = this.curator;
    const { dataset } = this.root;
    Object.assign(dataset, {
      saved: decisions?.row ?? 0,
      waiting: decisions?.waiting ?? 0,
      view,
      queue: queue?.name ?? "",
      current: queue?.current ?? "",
      learned: decisions?.suggestions.learned ?? 0,
      decided: decisions?.labels.tally[DECIDED] ?? 0,
      seen: decisions?.labels.gave[SEEN] ?? 0,
      ready: !blocked,
    });
    if (view === "grid" && dataset.current) this.root.setAttribute("aria-activedescendant", `page-${dataset.current}`);
    else this.root.removeAttribute("aria-activedescendant");
  }

  drawButtons() {
    const { keys, decisions, blocked, targets, tiled } = this.curator;
    const { waiting: waits, undoText, redoText } = decisions ?? {};
    const none = !targets.length;
    const idle = {
      accept: none,
      reject: none,
      exclude: none,
      find: none,
      name: none,
      undo: !undoText && !waits,
      redo: !redoText && !waits,
    };
    const titles = { undo: undoText, redo: redoText };
    for (const button of this.buttons) {
      const { command } = button.dataset;
      if (button.closest(".side")) button.disabled = Boolean(blocked) || Boolean(idle[command]);
      button.querySelector("kbd").textContent = keys.textOf(command);
      button.title = titles[command] ?? keys.titles.get(command);
      if (command === "grid") button.firstChild.textContent = tiled ? "Single" : "Grid";
    }
  }

  // Shows a sentence for a few seconds: "bad" for an error, "quiet" for information.
  say(text, kind) {
    this.message = { text, kind };
    clearTimeout(this.saying);
    this.saying = setTimeout(() => this.hush(), SENTENCE_MS);
    this.drawNotice();
  }

  hush() {
    this.message = undefined;
    this.drawNotice();
  }

  // The last message, or else why decisions are not possible, or else the most important keys.
  drawNotice() {
    const { blocked, queue } = this.curator;
    const standing = queue && blocked ? { text: blocked, kind: "standing" } : { text: this.hint, kind: "" };
    const { text, kind } = this.message ?? standing;
    this.notice.className = `notice ${kind}`;
    if (this.notice.textContent !== text) this.notice.textContent = text;
  }

  get hint() {
    const { keys, tiled } = this.curator;
    const key = (command) => keys.textOf(command);
    const walk = tiled
      ? [`${key("next")} ${key("back")} turn the page`, `${key("mark")}, Shift + arrows, Ctrl + click mark`]
      : [`${key("next")} ${key("back")} next and back`];
    const ends = [`${key("undo")} undoes`, `${key("help")} all keys`];
    const decide = [`${key("accept")} is right`, "a class's key assigns it", `${key("reject")} is wrong`];
    return [...decide, ...walk, ...ends].join("  ·  ");
  }

  // For screen readers: the image that is now current, and what is suggested for it as soon as that is known.
  speak() {
    const { queue, offers, about } = this.curator;
    const suggestion = offers.current;
    const offer = suggestion ? about.offer(suggestion) : "";
    const [moved, offered] = [this.told !== queue.current, suggestion?.class];
    if (!moved && (this.offered === offered || !offer)) return;
    this.told = queue.current;
    this.offered = offered;
    this.spoken.textContent = moved ? this.sentence(offer) : offer;
  }

  sentence(offer) {
    const { queue } = this.curator;
    if (queue.ended) return "";
    const { name, state, whoSaid } = this.tileOf(queue.current);
    const where = `${number(queue.at + 1)} of ${number(queue.length)}`;
    const image = `Image ${queue.current}, ${name}, ${stateWords(state, whoSaid)}, ${where}`;
    return offer ? `${image}. ${offer}` : image;
  }
}
