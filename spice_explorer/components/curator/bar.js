// Bar: where one is, how far it has come, and whether everything is saved.

class Bar {
  constructor(root) {
    for (const name of ["title", "place", "progress", "tally", "pace", "saved"]) {
      this[name] = root.querySelector(`.${name}`);
    }
    [this.dot, this.words, this.retry] = this.saved.children;
    this.parts = ["decided", "rejected", "excluded"].map((name) => this.progress.querySelector(`.${name}`));
  }

  // left: images of the queue that are open. counts: images of each state.
  draw({ title, queue, left, counts, rate }) {
    this.title.textContent = this.title.title = title;
    this.place.textContent = queue.length ? `${number(queue.length - left)} of ${number(queue.length)} done` : "";
    const all = Math.max(1, counts.reduce((sum, images) => sum + images, 0));
    this.parts.forEach((part, i) => { part.style.width = `${(100 * counts[i + 1]) / all}%`; });
    const words = STATES.slice(1).map(({ name }, i) => counts[i + 1] && `${number(counts[i + 1])} ${name}`);
    const whole = `${words.filter(Boolean).join(" · ") || "nothing decided"} of ${number(all)}`;
    this.tally.textContent = whole;
    this.progress.setAttribute("aria-label", whole);
    this.progress.title = whole;
    this.pace.textContent = rate === undefined ? "" : `${number(Math.round(rate))} a minute`;
  }

  // unseen: why the others' decisions cannot be asked for just now.
  saving(waiting, trouble, unseen) {
    const text = trouble ? `not saved: ${several(waiting, "decision waits", "decisions wait")}, trying again`
      : waiting ? `saving ${number(waiting)}…` : unseen ? "all saved; no connection" : "all saved";
    this.saved.className = `saved ${trouble ? "bad" : waiting ? "busy" : unseen ? "lost" : "good"}`;
    if (this.words.textContent !== text) this.words.textContent = text;
    this.saved.title = trouble || unseen || "";
    this.retry.hidden = !trouble;
  }
}
