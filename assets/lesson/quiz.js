// Quiz: which of twelve labels will be rejected? Then the score, and the reason for each.

class Quiz {
  /** @param {Bundle} bundle */
  constructor(bundle) {
    this.bundle = bundle;
    this.marked = new Set();
    this.at = 0;
    this.checked = false;
    const { places } = bundle.quiz;
    this.answers = places.map((place, i) => this.answer(place, i));
    this.check = button("Check", () => this.judge(), { className: "primary" });
    this.again = button("Again", () => this.reset(), { hidden: true });
    this.score = text("p", "score", "");
    this.score.setAttribute("role", "status");
    this.root = make(
      "div",
      { className: "quiz" },
      make("div", { className: "answers" }, ...this.answers),
      make("div", { className: "foot" }, this.check, this.again, this.score),
    );
    this.move(0);
  }

  answer(place, i) {
    const why = text("span", "why", "");
    const label = this.bundle.quiz.labels?.[i];
    const given =
      label === undefined ? undefined : make("span", { className: "given" }, swatch(label), `cluster ${label}`);
    const made = make(
      "button",
      { type: "button", className: "answer", onclick: () => this.mark(i) },
      make("span", {}, this.bundle.sheet.cell(place), given),
      why,
    );
    made.setAttribute("aria-label", `Picture ${i + 1}: ${this.bundle.nameOf(place)}`);
    made.setAttribute("aria-pressed", "false");
    return made;
  }

  mark(i) {
    if (this.checked) return;
    this.move(i - this.at);
    this.marked[this.marked.has(i) ? "delete" : "add"](i);
    this.answers[i].setAttribute("aria-pressed", String(this.marked.has(i)));
    this.score.textContent = `${this.marked.size} marked as rejected`;
  }

  move(by) {
    this.at = clamp(this.at + by, 0, this.answers.length - 1);
    for (const [i, one] of this.answers.entries()) one.classList.toggle("at", i === this.at);
  }

  judge() {
    if (this.checked) return;
    this.checked = true;
    const { rejected, why } = this.bundle.quiz;
    const right = rejected.map((was, i) => Boolean(was) === this.marked.has(i));
    this.answers.forEach((one, i) => {
      one.classList.add(right[i] ? "right" : "missed");
      one.lastChild.textContent = `${rejected[i] ? "✗ rejected" : "✓ kept"}: ${why[i]}`;
      one.title = why[i];
    });
    const score = `${right.filter(Boolean).length} of ${right.length} right`;
    this.score.textContent = `${score}. Of these, ${rejected.filter(Boolean).length} were rejected.`;
    this.check.hidden = true;
    this.again.hidden = false;
  }

  // Takes over the marks from a quiz with the same questions.
  like({ marked, at, checked }) {
    for (const i of marked) this.mark(i);
    this.move(at - this.at);
    if (checked) this.judge();
    return this;
  }

  reset() {
    this.checked = false;
    this.marked.clear();
    for (const one of this.answers) {
      one.classList.remove("right", "missed");
      one.setAttribute("aria-pressed", "false");
      one.lastChild.textContent = "";
      one.title = "";
    }
    this.score.textContent = "";
    this.check.hidden = false;
    this.again.hidden = true;
  }

  // Handles a key; returns whether it was used.
  key(key) {
    const columns = getComputedStyle(this.answers[0].parentElement).gridTemplateColumns.split(" ").length;
    const moves = { ArrowDown: columns, ArrowUp: -columns, "]": 1, "[": -1 };
    if (key in moves) this.move(moves[key]);
    else if (key === " ") this.mark(this.at);
    else if (key === "Enter") this.checked ? this.reset() : this.judge();
    else return false;
    return true;
  }
}
