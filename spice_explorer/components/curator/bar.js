// Bar: the place in the queue, the progress, and whether everything is saved.

class Bar {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.title = part(root, ".title");
    this.place = part(root, ".place");
    this.progress = part(root, ".progress");
    this.tally = part(root, ".tally");
    this.pace = part(root, ".pace");
    this.saved = part(root, ".saved");
    this.words = part(this.saved, "span");
    this.retry = part(this.saved, "button");
    this.parts = ["decided", "unseen", "rejected", "excluded"].map((name) => part(this.progress, `.${name}`));
  }

  // left: open images in the queue. counts: images in each state. gave: decided images by who gave the label.
  draw({ title, queue, left, counts, gave, rate }) {
    this.title.textContent = this.title.title = title;
    this.place.textContent = queue.length ? this.placeOf(queue) : "";
    this.place.title = `${number(left)} of these ${number(queue.length)} images still need an answer`;
    const all = Math.max(
      1,
      counts.reduce((sum, images) => sum + images, 0),
    );
    const [, decided, rejected, excluded] = counts;
    const widths = [gave[SEEN], decided - gave[SEEN], rejected, excluded];
    this.parts.forEach((part, i) => {
      part.style.width = `${(100 * widths[i]) / all}%`;
    });
    const said = PROVENANCES.map((name, i) => [gave[i], name]).reverse();
    const words = [...said, [rejected, "rejected"], [excluded, "excluded"]].filter(([images]) => images);
    const whole = `${words.map(([images, name]) => `${number(images)} ${name}`).join(" · ") || "nothing decided"} of ${number(all)}`;
    this.tally.textContent = whole;
    this.progress.setAttribute("aria-label", whole);
    this.progress.title = whole;
    this.pace.textContent = rate === undefined ? "" : `${number(Math.round(rate))} a minute`;
  }

  // "12 of 1,191"; behind the last image there is no place.
  placeOf({ at, length, ended }) {
    return ended ? `end of ${number(length)}` : `${number(at + 1)} of ${number(length)}`;
  }

  // unseen: why other reviewers' decisions cannot be fetched at the moment.
  saving(waiting, trouble, unseen) {
    const text = trouble
      ? `not saved: ${several(waiting, "decision waits", "decisions wait")}, trying again`
      : waiting
        ? `saving ${number(waiting)}…`
        : unseen
          ? "all saved; no connection"
          : "all saved";
    this.saved.className = `saved ${trouble ? "bad" : waiting ? "busy" : unseen ? "lost" : "good"}`;
    if (this.words.textContent !== text) this.words.textContent = text;
    this.saved.title = trouble || unseen || "";
    this.retry.hidden = !trouble;
  }
}
