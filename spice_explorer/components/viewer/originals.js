// Originals: the few that are shown now or next. They are fetched, because only a fetch can be cancelled and says
// what its answer shows.

const KEPT_ORIGINALS = 4;
// Someone who passes quickly does not want the originals passed.
const STAY_MS = 100;

/** @typedef {{ image?: HTMLImageElement, kind: string }} Original without an image if it cannot be had */

class Originals {
  /** @param {(address: string) => void} onLoad */
  constructor(onLoad) {
    this.onLoad = onLoad;
    /** @type {Map<string, Original>} */
    this.kept = new Map();
    /** @type {Map<string, AbortController>} */
    this.loads = new Map();
  }

  /**
   * The original at `address`, if it is there; else `onLoad` is called later. `next` is fetched after it, and all
   * other loads are cancelled.
   * @param {string} [address]
   * @param {string} [next]
   * @returns {Original | undefined}
   */
  want(address, next) {
    this.wanted = [address, next].filter(Boolean);
    for (const [other, load] of this.loads) if (!this.wanted.includes(other)) load.abort();
    const found = this.kept.get(address);
    if (found) this.keep(address, found);
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.go(), STAY_MS);
    return found;
  }

  // Fetches the first wanted original that is missing, one at a time.
  go() {
    const address = this.wanted.find((one) => !this.kept.has(one));
    if (address && !this.loads.has(address)) this.bring(address);
  }

  async bring(address) {
    const load = new AbortController();
    this.loads.set(address, load);
    let found = { kind: "" };
    try {
      found = await this.read(address, load.signal);
    } catch {
      // Cancelled, or missing: the thumbnail stays.
    }
    this.loads.delete(address);
    if (load.signal.aborted) {
      this.drop(found);
      if (this.wanted.includes(address)) this.go(); // wanted again since it was cancelled
      return;
    }
    this.keep(address, found);
    this.onLoad(address);
    this.go();
  }

  /** @type {(address: string, signal: AbortSignal) => Promise<Original>} */
  async read(address, signal) {
    const answer = await fetch(address, { signal });
    if (!answer.ok) throw new Error(`the server returned ${answer.status}`);
    const src = URL.createObjectURL(await answer.blob());
    const image = make("img", { alt: "", draggable: false, src });
    try {
      await image.decode();
    } catch (error) {
      URL.revokeObjectURL(src);
      throw error;
    }
    return { image, kind: answer.headers.get("X-Spice-Picture") ?? "" };
  }

  // Keeps an original as the last used; the one not used for longest goes.
  keep(address, found) {
    this.kept.delete(address);
    this.kept.set(address, found);
    if (this.kept.size <= KEPT_ORIGINALS) return;
    const [oldest] = this.kept.keys();
    this.drop(this.kept.get(oldest));
    this.kept.delete(oldest);
  }

  /** @param {Original} original */
  drop({ image }) {
    if (image) URL.revokeObjectURL(image.src);
  }

  // Discards everything: other images have come, or the component is gone.
  clear() {
    clearTimeout(this.waiting);
    this.wanted = [];
    for (const load of this.loads.values()) load.abort();
    for (const found of this.kept.values()) this.drop(found);
    this.kept.clear();
  }
}
