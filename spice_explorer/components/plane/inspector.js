// The reliability inspector: the verdict on every image for any pair of thresholds, at once.

const SETTLE_MS = 150;
const UNREACHED =
  "The numbers of this run cannot be fetched. Is the server running, and the run's folder still there? " +
  "Reload the page to try again.";

class Inspector {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.find = (selector) => part(root, selector);
    this.box = this.find(".inspector");
    /** @type {HTMLButtonElement} */
    this.reset = part(root, ".reset");
    this.plane = new Plane(root, this);
    this.clusters = new Clusters(root, this);
    /** @type {Record<string, HTMLInputElement>} */
    this.inputs = Object.fromEntries(
      ["agreement", "confidence", "neighbors", "floor"].map((name) => [name, part(root, `input.${name}`)]),
    );
    this.listen();
  }

  take(data, send) {
    this.data = data;
    this.send = send;
    this.box.style.setProperty("--bad", data.bad);
    if (this.version !== data.version || !this.asked) {
      this.version = data.version;
      this.asked = { ...data.asked };
    }
    this.inputs.neighbors.max = data.most;
    if (!this.tiles) this.tile();
    if (this.source !== data.labels.url + data.agreed.url) this.fetchAll();
    else if (this.have !== this.asked.neighbors) this.fetchAgreed();
    else this.redraw();
  }

  // -- data from the server

  async get(url, Kind) {
    const answer = await fetch(url, { signal: this.stopper.signal });
    if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
    return new Kind(await answer.arrayBuffer());
  }

  // Runs a request; an error becomes a sentence, unless a newer request was started meanwhile.
  async fetching(work) {
    const stopper = this.stopper;
    this.box.classList.add("waiting");
    try {
      await work();
      if (this.have === this.asked.neighbors) this.box.classList.remove("waiting");
    } catch (error) {
      if (this.stopper !== stopper || error.name === "AbortError") return;
      this.source = undefined;
      this.status(UNREACHED, true);
    }
  }

  fetchAll() {
    this.stopper?.abort();
    this.stopper = new AbortController();
    this.source = this.data.labels.url + this.data.agreed.url;
    this.judge = undefined;
    this.have = undefined;
    this.columns = new Map();
    this.busy = false;
    this.clusters.order = undefined;
    this.status(`Loading the data of ${number(this.data.images)} images…`);
    this.fetching(async () => {
      const [labels, confidence] = await Promise.all([
        this.get(this.data.labels.url, Uint16Array),
        this.get(this.data.confidence.url, Float32Array),
      ]);
      this.judge = new Judge(labels, confidence, this.data.clusters);
      await this.fetchColumn();
    });
  }

  fetchAgreed() {
    this.fetching(() => this.fetchColumn());
  }

  // Fetches one column at a time: a slider passes many numbers of neighbours, and only the last matters.
  async fetchColumn() {
    if (this.busy || !this.judge) return;
    this.busy = true;
    try {
      while (this.have !== this.asked.neighbors) {
        const count = this.asked.neighbors;
        if (!this.columns.has(count))
          this.columns.set(count, await this.get(this.data.agreed.url.replace("COUNT", count), Uint16Array));
        this.have = count;
        this.plane.take(this.judge.confidence, this.columns.get(count), count, this.data.mostNines);
        this.clusters.take(this.judge.sizes, count);
        this.redraw();
      }
    } finally {
      this.busy = false;
    }
  }

  // -- thresholds

  // Changes thresholds and updates the counts; Python is notified once a drag has ended.
  ask(change, settled = true) {
    this.asked = { ...this.asked, ...change };
    if (this.have !== this.asked.neighbors && this.judge) this.fetchAgreed();
    else
      this.pending ??= requestAnimationFrame(() => {
        this.pending = undefined;
        this.redraw();
      });
    if (settled) this.settle();
  }

  settle() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.clusters.arrange();
      this.clusters.draw();
      this.send("thresholds", { ...this.asked, serial: Date.now() });
    }, SETTLE_MS);
  }

  pick(change) {
    this.send("pick", { ...change, serial: Date.now() });
  }

  listen() {
    for (const [name, input] of Object.entries(this.inputs)) {
      input.addEventListener("input", () => this.typed(name, input));
      input.addEventListener("blur", () => this.redraw());
    }
    this.reset.addEventListener("click", () => this.ask({ ...this.data.own }));
  }

  // A number out of range is marked as invalid and changes nothing.
  typed(name, input) {
    const value = input.valueAsNumber;
    const fits = value >= Number(input.min) && value <= Number(input.max);
    input.classList.toggle("bad", !fits);
    if (fits) this.ask({ [name]: name === "floor" ? value / 100 : value });
  }

  // -- drawing

  tile() {
    this.tiles = this.data.reasons.map((reason, v) => {
      const made = make(
        "button",
        { type: "button", title: this.data.explanations[v] },
        make("span", { className: "name", textContent: reason }),
        ...["count", "share", "moved"].map((name) => make("span", { className: name })),
      );
      made.style.setProperty("--colour", this.data.colours[v]);
      this.find(".tiles").append(made);
      made.addEventListener("click", () => this.pick({ reason: v }));
      return made;
    });
  }

  redraw() {
    this.fields();
    if (!this.judge || this.have === undefined) return;
    this.judge.tally(this.columns.get(this.have), this.have, this.asked.confidence);
    const found = this.judge.verdict(this.asked);
    for (const [v, tile] of this.tiles.entries()) this.count(tile, found.total[v], this.data.ownCounts[v], v);
    this.plane.show(this.asked, found.plain);
    this.clusters.show(found);
    this.check(found.total);
  }

  count(tile, images, before, v) {
    const say = (name, text) => {
      tile.querySelector(`.${name}`).textContent = text;
    };
    const moved = images - before;
    const sign = moved > 0 ? "+" : "−";
    say("count", number(images));
    say("share", percent(images / this.data.images));
    say("moved", moved ? `${sign}${number(Math.abs(moved))} compared with the run` : "as in the run");
    tile.setAttribute("aria-pressed", String(this.data.reason === v));
  }

  // Updates the fields, except the one being typed in.
  fields() {
    const shown = { ...this.asked, floor: 100 * this.asked.floor };
    for (const [name, input] of Object.entries(this.inputs)) {
      if (input.matches(":focus") && input.type === "number") continue;
      input.value = name === "floor" ? String(Number(shown.floor.toFixed(2))) : plain(shown[name]);
      input.classList.remove("bad");
    }
    this.find("output").textContent = `${this.asked.neighbors} of ${this.data.most}`;
    this.reset.disabled = same(this.asked, this.data.own);
  }

  // The engine's counts for the same thresholds, if it has sent them, must be equal.
  check(total) {
    const { engine } = this.data;
    const there = same(engine.thresholds, this.asked) && this.have === this.asked.neighbors;
    const equal = there && engine.counts.every((images, v) => images === total[v]);
    this.box.dataset.checked = there ? String(equal) : "waiting";
    const { found, count } = this.clusters;
    const lowered = [...this.clusters.sizes.keys()].filter((k) => this.clusters.lowered(k));
    const which = `${number(lowered.length)} ${lowered.length === 1 ? "cluster" : "clusters"}`;
    const least = (Math.min(...lowered.map((k) => found.needs[k])) / count).toFixed(2);
    const taken = found.relaxed.reduce((sum, images) => sum + images, 0);
    const why = `the best ${percent(this.asked.floor)} of ${which}, relaxed to ${least}`;
    const kept = taken
      ? ` ▾ Training also takes ${number(taken)} images below the line: ${why}. They are not reliable.`
      : "";
    if (there && !equal) {
      return this.status(
        `The engine counts ${number(engine.counts[0])} reliable images, not ${number(total[0])}: reload the page.`,
        true,
      );
    }
    this.status((there ? "Checked: the engine's counts match." : "The engine is counting…") + kept);
  }

  status(text, wrong = false) {
    const place = this.find(".status");
    place.textContent = text;
    place.classList.toggle("wrong", wrong);
  }

  // Shows a tooltip at the pointer, or hides it if there is no event.
  tip(e, lines) {
    const tip = this.find(".tip");
    tip.style.display = e ? "block" : "none";
    if (!e) return;
    tip.textContent = lines.join("\n");
    const box = this.box.getBoundingClientRect();
    const [x, y] = [e.clientX - box.left, e.clientY - box.top];
    tip.style.left = `${clamp(x + 16, 0, box.width - tip.offsetWidth)}px`;
    tip.style.top = `${clamp(y + 14, 0, box.height - tip.offsetHeight)}px`;
  }

  close() {
    this.stopper?.abort();
    clearTimeout(this.timer);
    cancelAnimationFrame(this.pending);
    this.plane.close();
  }
}
