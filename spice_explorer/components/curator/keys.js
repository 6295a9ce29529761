// Keys: the key of every command. All can be changed, and the browser remembers them.

/** @type {[command: string, keys: string[], title: string][]} */
const COMMANDS = [
  ["accept", ["a"], "The class is right"],
  ["suggested", ["s"], "Give the class that my answers suggest"],
  ["reject", ["x"], "The class is wrong, and the right one is unknown"],
  ["exclude", ["e"], "Leave out of training and exports"],
  ["undo", ["u"], "Undo my last decision"],
  ["redo", ["r"], "Redo my last undone decision"],
  ["next", ["j", "PageDown"], "Next image; in the grid, next page"],
  ["back", ["k", "PageUp"], "Previous image; in the grid, previous page"],
  ["start", ["Home"], "First image of the queue"],
  ["end", ["End"], "Last image of the queue"],
  ["find", ["t", "/"], "Find a class by name"],
  ["name", ["n"], "New class from these images"],
  ["rename", ["F2"], "Rename the classes, one after the other"],
  ["spread", ["p"], "Give the class to all images that agree"],
  ["mark", [" "], "Mark the image (grid)"],
  ["grid", ["g"], "Grid or single picture"],
  ["in", ["+", "="], "Zoom in (single picture)"],
  ["out", ["-"], "Zoom out"],
  ["fit", ["*"], "Fit the whole picture"],
  ["actual", ["z"], "Actual size: one pixel for each pixel of the screen; again: fit"],
  ["square", ["w"], "Outline what the network sees"],
  ["open", ["o", "Enter"], "Open the image's details"],
  ["first", [","], "Disputed: choose the first answer"],
  ["second", ["."], "Disputed: choose the second answer"],
  ["help", ["?"], "These keys"],
];
const TAKEN = new Set(COMMANDS.flatMap(([, keys]) => keys));
// Keys of classes, by number: digits, then the letters that no command uses.
const CLASS_KEYS = [..."1234567890", ..."abcdefghijklmnopqrstuvwxyz"].filter((key) => !TAKEN.has(key));
const FIXED = [
  "Escape",
  "Tab",
  "Shift",
  "Control",
  "Alt",
  "AltGraph",
  "Meta",
  "CapsLock",
  "Dead",
  "Process",
  "ArrowUp",
  "ArrowDown",
  "ArrowLeft",
  "ArrowRight",
];
const SHOWN_KEYS = { " ": "Space", PageDown: "PgDn", PageUp: "PgUp", Enter: "Enter" };
const MEMORY = "spice-curator-keys";

const keyText = (key) => SHOWN_KEYS[key] ?? (key.length === 1 ? key.toUpperCase() : key);
const classCommand = (number) => `class ${number}`;

// The keys an event may mean: the letter typed, or else the one at this place on a Latin keyboard.
function keysOf({ key, code }) {
  const place = /^(?:Key|Digit)(.)$/.exec(code ?? "")?.[1];
  return [key.length === 1 ? key.toLowerCase() : key, place?.toLowerCase()].filter(Boolean);
}

class Keys {
  constructor() {
    const own = Object.entries(memory.get(MEMORY) ?? {}).filter(([, key]) => typeof key === "string");
    this.own = new Map(own);
    this.take([]);
  }

  // Assigns keys to the classes; a class keeps its key when others come or go.
  take(classes) {
    this.titles = new Map(COMMANDS.map(([command, , title]) => [command, title]));
    this.defaults = new Map(COMMANDS.map(([command, keys]) => [command, keys]));
    for (const { number, name } of classes) {
      this.titles.set(classCommand(number), name);
      this.defaults.set(classCommand(number), CLASS_KEYS.slice(number, number + 1));
    }
    this.bind();
  }

  bind() {
    this.bound = new Map();
    this.shown = new Map();
    const give = (command, key) => {
      if (this.bound.has(key)) return;
      this.bound.set(key, command);
      if (!this.shown.has(command)) this.shown.set(command, keyText(key));
    };
    for (const [command, key] of this.own) if (this.defaults.has(command)) give(command, key);
    for (const [command, keys] of this.defaults) {
      if (!this.own.has(command)) for (const key of keys) give(command, key);
    }
  }

  commandOf(e) {
    return keysOf(e)
      .map((key) => this.bound.get(key))
      .find(Boolean);
  }

  // The key of a command as shown on a button, or "".
  textOf(command) {
    return this.shown.get(command) ?? "";
  }

  // Changes the key of a command; returns why that is not possible, or "".
  change(command, e) {
    const [key] = keysOf(e);
    if (FIXED.includes(e.key)) return `${e.key} cannot be reassigned: choose another key.`;
    if (e.ctrlKey || e.metaKey || e.altKey)
      return "Keys with Ctrl, Alt or ⌘ are reserved for the browser: choose one without.";
    const holder = this.bound.get(key);
    if (holder === command) return "";
    if (holder) {
      const meaning = `${keyText(key)} is already used for “${this.titles.get(holder)}”`;
      return `${meaning}: give that another key first, or choose a free one.`;
    }
    this.own.set(command, key);
    this.keep();
    return "";
  }

  reset() {
    this.own.clear();
    this.keep();
  }

  keep() {
    memory.set(MEMORY, Object.fromEntries(this.own));
    this.bind();
  }
}
