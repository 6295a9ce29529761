// Replay: the bar below the map that steps through the frames of training.

const FRAME_MS = 1100;

class Replay {
  /**
   * @param {HTMLElement} root
   * @param {(frame: number | undefined) => void} onFrame
   */
  constructor(root, onFrame) {
    this.root = root;
    this.onFrame = onFrame;
    this.play = make("button", { textContent: "Play" });
    this.play.onclick = () => this.toggle();
    this.slider = make("input", { type: "range", min: 0, step: 1 });
    this.slider.setAttribute("aria-label", "Time in training");
    this.slider.oninput = () => {
      this.stop();
      this.go(+this.slider.value);
    };
    this.title = make("b", { className: "moment" });
    this.note = make("span", { className: "replay-note" });
    this.trails = make("input", { type: "checkbox", checked: true });
    this.trails.onchange = () => this.onFrame(this.at);
    const label = make("label", {}, this.trails, " Trails");
    root.append(this.play, this.slider, this.title, label, this.note);
  }

  take(frames, note) {
    this.frames = frames;
    this.slider.max = String(Math.max(0, frames.length - 1));
    this.note.textContent = note;
    if (this.at !== undefined) this.name();
  }

  open(at) {
    this.root.style.display = "flex";
    this.go(clamp(at ?? this.frames.length - 1, 0, this.frames.length - 1));
  }

  close() {
    this.stop();
    this.at = undefined;
    this.root.style.display = "none";
    this.onFrame(undefined);
  }

  go(at) {
    this.at = at;
    this.slider.value = at;
    this.name();
    this.onFrame(at);
  }

  name() {
    this.title.textContent = this.frames[this.at]?.title ?? "";
    this.slider.setAttribute("aria-valuetext", this.title.textContent);
  }

  toggle() {
    if (this.timer) return this.stop();
    this.play.textContent = "Pause";
    if (this.at >= this.frames.length - 1) this.go(0);
    this.timer = setInterval(() => {
      if (this.at >= this.frames.length - 1) this.stop();
      else this.go(this.at + 1);
    }, FRAME_MS);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.play.textContent = "Play";
  }
}
