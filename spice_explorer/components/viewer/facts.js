// Facts: what is known of an image's file, fetched when the image is shown.

const KEPT_FACTS = 64;
const FACTS_MS = 80;
const BYTE_UNITS = ["kB", "MB", "GB", "TB"];

/** @type {(bytes: number) => string} */
function bytesText(bytes) {
  if (bytes < 1000) return bytes === 1 ? "1 byte" : `${bytes} bytes`;
  let size = bytes / 1000;
  let unit = 0;
  while (size >= 999.5 && unit < BYTE_UNITS.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${size < 9.95 ? size.toFixed(1) : Math.round(size)} ${BYTE_UNITS[unit]}`;
}

// A time of the computer's clock, or of the camera's, which knows no zone either.
/** @type {(time: number | string) => string} */
const timeText = (time) => new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });

/**
 * @typedef {object} Told
 * @property {string} name
 * @property {string} folder
 * @property {[number, number]} trained
 * @property {string} note
 * @property {string} [fit]
 * @property {number} [width]
 * @property {number} [height]
 * @property {string} [form]
 * @property {number} [frames]
 * @property {string} [camera]
 * @property {string} [taken]
 * @property {number} [bytes]
 * @property {number | null} [modified]
 * @property {string} [path]
 */

class Facts {
  /**
   * @param {HTMLElement} root
   * @param {(told: Told) => void} onLoad the facts of the current image are there
   */
  constructor(root, onLoad) {
    this.root = root;
    this.onLoad = onLoad;
    /** @type {Map<string, Told>} */
    this.kept = new Map();
  }

  /**
   * Shows the facts at `address`, as soon as they are there, after the words `before`; then fetches `next`.
   * @param {string} [address]
   * @param {string} [before]
   * @param {string} [next]
   */
  show(address, before = "", next = undefined) {
    this.next = next;
    if (address === this.address) return;
    this.load?.abort();
    clearTimeout(this.waiting);
    this.address = address;
    this.before = before;
    this.draw(this.kept.get(address));
    this.waiting = setTimeout(() => this.go(), FACTS_MS);
  }

  /** @type {(address: string) => Told | undefined} */
  of(address) {
    return this.kept.get(address);
  }

  clear() {
    this.load?.abort();
    clearTimeout(this.waiting);
    this.kept.clear();
    this.address = this.next = undefined;
  }

  async go() {
    const address = [this.address, this.next].find((one) => one && !this.kept.has(one));
    if (!address) return;
    const load = new AbortController();
    this.load = load;
    try {
      const answer = await fetch(address, { signal: load.signal });
      if (!answer.ok) return;
      this.kept.set(address, await answer.json());
    } catch {
      return; // cancelled, or the server does not respond: the picture says so
    }
    if (this.kept.size > KEPT_FACTS) this.kept.delete(this.kept.keys().next().value);
    if (address === this.address) {
      this.draw(this.kept.get(address));
      this.onLoad(this.kept.get(address));
    }
    this.go();
  }

  /** @param {Told} [told] */
  draw(told) {
    const where = [this.before, told?.folder && `${told.folder}/`].filter(Boolean).join(" · ");
    const lines = told ? [this.file(told), this.when(told)] : [];
    this.root.replaceChildren(
      make("div", { className: "fact-line", textContent: where, title: told?.name ?? "" }),
      ...lines.filter(Boolean),
      ...(told?.note ? [make("div", { className: "fact-note", textContent: told.note })] : []),
      ...(told?.path ? [this.copier(told.path)] : []),
    );
  }

  /** @param {Told} told */
  file({ width, height, trained, form, frames, bytes }) {
    const [wide, high] = width ? [width, height] : trained;
    const size = bytes === undefined ? "" : bytesText(bytes);
    const moving = frames > 1 ? `first of ${number(frames)} frames used` : "";
    const words = [`${number(wide)} × ${number(high)} pixels`, form, moving, size].filter(Boolean).join(" · ");
    const line = make("div", { className: "fact-line", textContent: words });
    if (size) line.title = `${number(bytes)} bytes`;
    return line;
  }

  /** @param {Told} told */
  when({ taken, modified, camera }) {
    const time = taken
      ? `taken ${timeText(taken.replace(" ", "T"))}`
      : modified && `modified ${timeText(1000 * modified)}`;
    const words = [time, camera].filter(Boolean).join(" · ");
    return words && make("div", { className: "fact-line", textContent: capital(words), title: words });
  }

  copier(path) {
    const button = make("button", { className: "copy", textContent: "Copy path", title: path });
    const field = make("input", { className: "fact-path", value: path, readOnly: true, hidden: true });
    field.setAttribute("aria-label", "Path of the file");
    button.onclick = async () => {
      try {
        await navigator.clipboard.writeText(path);
        button.textContent = "Copied";
      } catch {
        // Pages without HTTPS have no clipboard: the path is selected, to be copied by hand.
        field.hidden = false;
        setTimeout(() => field.select());
      }
    };
    return make("div", { className: "fact-copy" }, button, field);
  }
}
