// Pace: decisions per minute over the last minutes of work. Pauses do not count, nor does the decision
// that ends one.

const PAUSE_MS = 30000;
const SPAN_MS = 180000;
const LEAST_MS = 4000;

class Pace {
  constructor(clock = () => performance.now()) {
    this.clock = clock;
    this.worked = 0;
    this.steps = [];
  }

  add(images) {
    const now = this.clock();
    const gap = now - (this.last ?? -Infinity);
    this.last = now;
    if (!(gap >= 0 && gap <= PAUSE_MS)) return;
    this.worked += gap;
    this.steps.push({ at: this.worked, images });
    while (this.steps[0].at <= this.worked - SPAN_MS) this.steps.shift();
  }

  // Undefined until there is enough work to measure.
  get rate() {
    const span = Math.min(this.worked, SPAN_MS);
    if (span < LEAST_MS) return undefined;
    return (60000 * this.steps.reduce((sum, step) => sum + step.images, 0)) / span;
  }
}
