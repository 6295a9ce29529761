// The player inside the app: the page tells where the bundle is, and how training goes.

class Lesson {
  constructor(parent) {
    this.root = parent.querySelector(".lesson-room");
    this.player = new Player(this.root.appendChild(make("div")));
  }

  // data: {address, waits}; the bundle is fetched when its address is another one.
  async take({ address, waits }) {
    if (address !== this.address) {
      this.address = address;
      try {
        const answer = await fetch(address);
        if (!answer.ok) throw new Error(await answer.text());
        const found = await answer.json();
        if (address === this.address) this.found = found;
      } catch (error) {
        if (address === this.address) this.fail(error);
        return;
      }
    } else if (JSON.stringify(waits) === JSON.stringify(this.waits)) return;
    this.waits = waits;
    if (this.found) this.player.take(this.found, waits);
  }

  fail(error) {
    [this.address, this.found] = [];
    this.player.screen.replaceChildren(text("p", "needs", `The lesson could not be fetched (${error.message}). It is asked for again when the page changes.`));
  }
}

const lessons = new WeakMap();

export default function ({ data, parentElement }) {
  if (!lessons.has(parentElement)) lessons.set(parentElement, new Lesson(parentElement));
  const lesson = lessons.get(parentElement);
  lesson.take(data);
  return () => { lesson.player.close(); lessons.delete(parentElement); };
}
