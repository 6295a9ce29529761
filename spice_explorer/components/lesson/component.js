// The player inside the app: the page gives it the URL of the bundle and the state of training.

const AGAIN_MS = 2000;

// Where the reader was when a lesson was last taken out of this tab's page: a busy server redraws a page in parts, and
// then Streamlit may make what was there once more, from a module of its own.
const LEFT = "spice lesson";

class Lesson {
  /** @param {HTMLElement} parent */
  constructor(parent) {
    this.root = part(parent, ".lesson-room");
    this.player = new Player(this.root.appendChild(make("div")));
  }

  // data: {address, waits}; the bundle is fetched when its address has changed.
  async take({ address, waits }) {
    clearTimeout(this.again);
    if (address !== this.address) {
      this.address = address;
      try {
        const answer = await fetch(address);
        if (!answer.ok) throw new Error(await answer.text());
        const found = await answer.json();
        if (address === this.address) this.found = found;
      } catch (error) {
        if (address === this.address) this.fail(error, { address, waits });
        return;
      }
    } else if (JSON.stringify(waits) === JSON.stringify(this.waits)) return;
    this.waits = waits;
    if (!this.found) return;
    const left = JSON.parse(sessionStorage.getItem(LEFT) ?? "{}");
    this.player.take(this.found, waits, left.run === this.found.run ? left.place : undefined);
  }

  // Tries again after an error, because the server may only be busy; the lesson stays visible.
  fail(error, asked) {
    this.address = undefined;
    if (!this.found)
      this.player.screen.replaceChildren(
        text("p", "needs", `The lesson could not be loaded (${error.message}). Trying again.`),
      );
    this.again = setTimeout(() => this.take(asked), AGAIN_MS);
  }

  close() {
    clearTimeout(this.again);
    if (this.found) sessionStorage.setItem(LEFT, JSON.stringify({ run: this.found.run, place: this.player.place }));
    this.player.close();
  }
}

const lessons = new WeakMap();

export default function ({ data, parentElement }) {
  if (!lessons.has(parentElement)) lessons.set(parentElement, new Lesson(parentElement));
  const lesson = lessons.get(parentElement);
  lesson.take(data);
  return () => {
    lesson.close();
    lessons.delete(parentElement);
  };
}
