// Keyboard: the sheet that shows the keys and lets the user change them.

const FIXED_KEYS = [
  ["← →", "Previous image, next image"],
  ["Arrows", "Move in the grid"],
  ["Shift + arrows", "Mark a range (grid)"],
  ["Ctrl + A", "Mark the page (grid)"],
  ["Ctrl + Z", "Undo"],
  ["Esc", "Unmark, or leave a field"],
];

class Keyboard {
  /**
   * @param {HTMLElement} root
   * @param {Keys} keys
   * @param {() => void} onChange a key was changed
   * @param {() => void} onClose the sheet was closed
   */
  constructor(root, keys, onChange, onClose) {
    this.root = root;
    this.keys = keys;
    this.onChange = onChange;
    this.onClose = onClose;
    root.addEventListener("keydown", (e) => this.type(e));
    root.addEventListener("click", (e) => this.press(e));
  }

  get open() {
    return !this.root.hidden;
  }

  show() {
    this.root.hidden = false;
    this.say("Click a key to change it.");
    this.root.focus();
  }

  hide() {
    this.root.hidden = true;
    this.chosen = undefined;
    this.onClose();
  }

  say(text, bad = false) {
    this.words = text;
    this.bad = bad;
    this.draw();
  }

  draw() {
    const { keys } = this;
    const commands = COMMANDS.map(([command]) => command);
    const classes = [...keys.titles.keys()].filter((one) => !commands.includes(one) && keys.textOf(one));
    const lists = [
      this.list(
        "Decide and move",
        commands.map((one) => this.row(one)),
      ),
      this.list(
        "Classes",
        classes.map((one) => this.row(one)),
      ),
      this.list(
        "Always",
        FIXED_KEYS.map((one) => this.fixed(...one)),
      ),
    ];
    this.root.replaceChildren(this.head(), make("div", { className: "keys-lists" }, ...lists));
  }

  head() {
    const words = make("span", { className: this.bad ? "words bad" : "words", textContent: this.words });
    words.setAttribute("role", "status");
    return make(
      "div",
      { className: "keys-head" },
      make("b", { textContent: "Keys" }),
      words,
      make("button", { className: "reset", textContent: "Reset", title: "Reset all keys to their defaults" }),
      make("button", { className: "close", textContent: "Close", title: "Esc" }),
    );
  }

  list(title, rows) {
    return make("section", {}, make("h4", { textContent: title }), ...rows);
  }

  row(command) {
    const waits = command === this.chosen;
    const title = this.keys.titles.get(command);
    const text = waits ? "press a key" : this.keys.textOf(command) || "none";
    const key = make("button", { className: waits ? "key waits" : "key", textContent: text });
    key.dataset.key = command;
    key.setAttribute("aria-label", `Key of “${title}”: ${text}`);
    return make("div", { className: "key-row" }, key, make("span", { textContent: title }));
  }

  fixed(key, title) {
    return make(
      "div",
      { className: "key-row" },
      make("kbd", { textContent: key }),
      make("span", { textContent: title }),
    );
  }

  press(e) {
    const button = holder(e, "button");
    if (!button) return;
    if (button.classList.contains("close")) return this.hide();
    if (button.classList.contains("reset")) {
      this.chosen = undefined;
      this.keys.reset();
      this.onChange();
      this.say("All keys are reset to their defaults.");
    } else {
      this.chosen = button.dataset.key;
      this.say(`Press the new key for “${this.keys.titles.get(this.chosen)}”; Esc cancels.`);
    }
    this.root.focus();
  }

  type(e) {
    e.stopPropagation();
    if (this.chosen) return this.choose(e);
    if (e.key !== "Escape" && this.keys.commandOf(e) !== "help") return;
    e.preventDefault();
    this.hide();
  }

  choose(e) {
    if (["Shift", "Control", "Alt", "AltGraph", "Meta"].includes(e.key)) return;
    e.preventDefault();
    const { chosen } = this;
    const why = e.key === "Escape" ? "" : this.keys.change(chosen, e);
    if (!why) this.chosen = undefined;
    this.onChange();
    this.say(why || "Click a key to change it.", Boolean(why));
  }
}
