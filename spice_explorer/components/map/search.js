// Grid: finds the point under the pointer, and the points inside a lasso.

const CELLS = 192;
const RANGE = 65536;

class Grid {
  /** @param {Uint16Array} place x and y of every point */
  constructor(place) {
    this.place = place;
    const n = place.length / 2;
    const start = new Uint32Array(CELLS * CELLS + 1);
    const cell = new Uint32Array(n);
    for (let i = 0; i < n; i++) {
      cell[i] = ((place[2 * i] * CELLS) >> 16) + CELLS * ((place[2 * i + 1] * CELLS) >> 16);
      start[cell[i] + 1]++;
    }
    for (let c = 0; c < CELLS * CELLS; c++) start[c + 1] += start[c];
    const next = start.slice();
    const order = new Uint32Array(n);
    for (let i = 0; i < n; i++) order[next[cell[i]]++] = i;
    this.start = start;
    this.order = order;
  }

  // The point nearest to (x, y) within `across` and `up`, among those that `seen` allows.
  nearest(x, y, across, up, seen) {
    const { place, start, order } = this;
    const at = (v) => clamp(Math.floor((v * CELLS) / RANGE), 0, CELLS - 1);
    let best = 1;
    let found;
    for (let row = at(y - up); row <= at(y + up); row++) {
      const from = start[row * CELLS + at(x - across)];
      const to = start[row * CELLS + at(x + across) + 1];
      for (let k = from; k < to; k++) {
        const i = order[k];
        const far = ((place[2 * i] - x) / across) ** 2 + ((place[2 * i + 1] - y) / up) ** 2;
        if (far < best && seen[i]) [best, found] = [far, i];
      }
    }
    return found;
  }

  // 1 for every point that `seen` allows inside the closed path [[x, y], …].
  inside(path, seen) {
    const { place } = this;
    const out = new Uint8Array(seen.length);
    const xs = path.map((p) => p[0]);
    const ys = path.map((p) => p[1]);
    const [left, right] = [Math.min(...xs), Math.max(...xs)];
    const [low, high] = [Math.min(...ys), Math.max(...ys)];
    for (let i = 0; i < seen.length; i++) {
      const x = place[2 * i];
      const y = place[2 * i + 1];
      if (!seen[i] || x < left || x > right || y < low || y > high) continue;
      let odd = 0;
      for (let a = 0, b = path.length - 1; a < path.length; b = a++) {
        if (ys[a] > y === ys[b] > y) continue;
        if (x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) odd ^= 1;
      }
      out[i] = odd;
    }
    return out;
  }
}
