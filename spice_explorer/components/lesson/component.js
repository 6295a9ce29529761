// The player inside the app: the page gives it the URL of the bundle and the state of training.

const AGAIN_MS = 2000;

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
    if (this.found) this.player.take(this.found, waits);
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
