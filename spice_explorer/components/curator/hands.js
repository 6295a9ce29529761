// Hands: keyboard and pointer input.

const HELD = new Set(["next", "back", "in", "out"]); // commands whose keys may repeat; decisions never do

const DEEDS = {
  accept: (curator) => curator.decide("accept"),
  suggested: (curator) => curator.offers.take(),
  reject: (curator) => curator.decide("reject"),
  exclude: (curator) => curator.decide("exclude"),
  undo: (curator) => curator.turn("undo"),
  redo: (curator) => curator.turn("redo"),
  next: (curator) => curator.step(1),
  back: (curator) => curator.step(-1),
  start: (curator) => curator.jump(0),
  end: (curator) => curator.jump(Infinity),
  mark: (curator) => curator.markCurrent(),
  clear: (curator) => curator.unmark(),
  grid: (curator) => curator.turnView(),
  spread: (curator) => curator.spread(),
  first: (curator) => curator.settleDispute(0),
  second: (curator) => curator.settleDispute(1),
  in: (curator) => curator.inspect("in"),
  out: (curator) => curator.inspect("out"),
  fit: (curator) => curator.inspect("fit"),
  actual: (curator) => curator.inspect("actual"),
  square: (curator) => curator.inspect("square"),
  find: (curator) => curator.askClass(),
  name: (curator) => curator.askName(),
  rename: (curator) => curator.askNames(),
  open: (curator) => curator.open(),
  help: (curator) => curator.showKeys(),
  again: (curator) => curator.again(),
  retry: (curator) => curator.decisions.outbox.send(),
};
// Commands that work while the images are loading.
const EARLY = new Set(["help", "again"]);

class Hands {
  /**
   * @param {HTMLElement} root
   * @param {Curator} curator
   */
  constructor(root, curator) {
    this.root = root;
    this.curator = curator;
    root.addEventListener("keydown", (e) => this.type(e));
    root.addEventListener("click", (e) => this.click(e));
  }

  run(command) {
    if (this.curator.queue || EARLY.has(command)) DEEDS[command](this.curator);
  }

  click(e) {
    const { command, take } = holder(e, "button")?.dataset ?? {};
    if (command) this.run(command);
    else if (take) this.curator.settleDispute(Number(take));
    if (!this.curator.asking) this.curator.focus();
  }

  type(e) {
    const from = e.composedPath()[0];
    if (e.altKey || e.isComposing || from.matches("input, textarea")) return;
    if (from.matches("button") && [" ", "Enter"].includes(e.key)) return; // these keys press the button
    const plain = !(e.ctrlKey || e.metaKey);
    if (plain ? this.typed(e) : this.controlled(e)) e.preventDefault();
    else if (!plain || e.key.length > 1) return;
    e.stopPropagation(); // Streamlit has shortcuts of single letters, too
  }

  typed(e) {
    const { curator } = this;
    if (e.key === "Escape") return curator.unmark();
    if (e.key.startsWith("Arrow")) return curator.walk(e.key, e.shiftKey);
    const command = curator.keys.commandOf(e);
    if (!command) return false;
    if (e.repeat && !HELD.has(command)) return true;
    const [kind, number] = command.split(" ");
    if (kind === "class") curator.give(Number(number));
    else this.run(command);
    return true;
  }

  controlled(e) {
    const key = e.key.toLowerCase();
    if (key === "a") return this.curator.markPage();
    if (key !== "z" && key !== "y") return false;
    this.run(key === "y" || e.shiftKey ? "redo" : "undo");
    return true;
  }
}
