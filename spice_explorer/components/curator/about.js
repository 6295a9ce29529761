// About: facts about the current image or the marked ones.

const TAKES = ["first", "second"];

class About {
  /**
   * @param {HTMLElement} root
   * @param {Classes} classes
   * @param {Keys} keys
   */
  constructor(root, classes, keys) {
    this.root = root;
    this.classes = classes;
    this.keys = keys;
  }

  // facts: {id, name, state, whoSaid, disputed, class, said, sure, agreed, answers, suggestion}; `said` is undefined while it loads.
  draw(facts) {
    const text = JSON.stringify([
      facts,
      this.classes.version,
      [...TAKES, "suggested"].map((one) => this.keys.textOf(one)),
    ]);
    if (text === this.drawn) return;
    this.drawn = text;
    if (!facts) return this.root.replaceChildren();
    this.root.replaceChildren(...(facts.marked ? this.many(facts) : this.one(facts)));
  }

  many({ marked, open, elsewhere }) {
    const parts = [`${number(open)} undecided`, elsewhere && `${number(elsewhere)} on other pages`];
    const words = parts.filter(Boolean).join(" · ");
    return [
      make("div", { className: "class", textContent: `${number(marked)} marked` }),
      make("div", { className: "fact", textContent: words }),
    ];
  }

  one(facts) {
    const { id, name: file, disputed, answers, class: given } = facts;
    const { classes, keys } = this;
    const open = make("button", { className: "open", textContent: file ?? `Image ${id}` });
    open.title = [file, `Details (${keys.textOf("open")})`].filter(Boolean).join("\n");
    open.dataset.command = "open";
    const name = make("span", { textContent: classes.nameOf(given) });
    return [
      make("div", { className: "line" }, this.badge(facts), open),
      make("div", { className: "class" }, swatch(classes.colourOf(given)), name),
      this.model(facts),
      this.suggested(facts),
      ...(disputed ? [this.dispute(answers)] : []),
    ];
  }

  badge({ state, disputed, whoSaid }) {
    const { name, mark } = STATES[state];
    const words = stateWords(state, whoSaid);
    if (disputed) return make("span", { className: "badge disputed", textContent: "! disputed" });
    return make("span", { className: `badge ${name}`, textContent: `${mark} ${words}`.trim() });
  }

  model({ said, sure, agreed, class: given }) {
    const fact = make("div", { className: "fact" });
    if (said === undefined) return fact;
    const other = said !== given;
    fact.append(make("span", { textContent: other ? "the model: " : "the model agrees, " }));
    if (other)
      fact.append(swatch(this.classes.colourOf(said)), make("b", { textContent: this.classes.nameOf(said) }), ", ");
    const tail = [sure, agreed].map((share) => (Number.isFinite(share) ? percent(share) : "–"));
    fact.append(make("span", { textContent: `confidence ${tail[0]}; ${tail[1]} of its neighbours agree` }));
    return fact;
  }

  // One line, whether there is a suggestion or not: what is below must not move when it comes. How sure it is, is not
  // said: those that are news are right far less often than they are sure.
  suggested({ suggestion }) {
    if (!suggestion) return make("div", { className: "suggestion" });
    const key = make("kbd", { textContent: this.keys.textOf("suggested") });
    const words = make("span", { textContent: "Suggested:" });
    const name = make("b", { textContent: this.classes.nameOf(suggestion.class) });
    const own = make("kbd", { textContent: this.classes.keyOf(suggestion.class) });
    const swatched = swatch(this.classes.colourOf(suggestion.class));
    const button = make("button", { className: "suggestion" }, key, words, swatched, name, own);
    button.title = this.offer(suggestion);
    button.dataset.command = "suggested";
    button.dataset.number = suggestion.class;
    return button;
  }

  // The same as a sentence.
  offer(suggestion) {
    const key = this.keys.textOf("suggested");
    const what = `Your answers suggest ${this.classes.nameOf(suggestion.class)}`;
    return key ? `${what}: key ${key}` : what;
  }

  // Shows both answers, if they are known; the server sends only those of the first disputes.
  dispute(answers = []) {
    const words = answers.length
      ? "Two conflicting answers, given independently. Choose one:"
      : "Reviewers disagree: any new decision resolves it.";
    const takes = answers.map((one, i) => this.answer(one, i));
    return make("div", { className: "dispute" }, make("span", { textContent: words }), ...takes);
  }

  answer(answer, i) {
    const key = make("kbd", { textContent: this.keys.textOf(TAKES[i]) });
    const who = make("em", { textContent: answer.reviewer });
    const take = make("button", { className: "answer" }, key, ...this.words(answer), who);
    take.dataset.take = i;
    return take;
  }

  words({ state, class: given }) {
    if (state !== DECIDED) return [make("span", { textContent: `${STATES[state].mark} ${STATES[state].name}` })];
    return [swatch(this.classes.colourOf(given)), make("span", { textContent: this.classes.nameOf(given) })];
  }
}
