// Charts: bars, a histogram, a heat map and lines, as small as is readable.

const MOST_BARS = 14; // more are split into columns
/** @type {CanvasTextAlign[]} */
const ALIGNED = ["left", "center", "right"];

/**
 * @typedef {object} Bars
 * @property {(i: number) => string} [colour]
 * @property {(i: number) => string | number} [name]
 * @property {(value: number, i: number) => string} [words]
 * @property {number} [most] what a full bar stands for
 */

/**
 * One bar for each value.
 * @param {number[]} values
 * @param {Bars} options
 */
function barsOf(values, { colour = colourOf, name = (i) => i, words = number, most } = {}) {
  const full = most ?? Math.max(1e-9, ...values);
  const rows = values.map((value, i) => {
    const bar = text("i", "bar", "");
    Object.assign(bar.style, { width: `${(100 * value) / full}%`, background: colour(i) });
    return [text("span", "name", name(i)), make("span", { className: "track" }, bar), text("em", "", words(value, i))];
  });
  const made = make("div", { className: "bars" }, ...rows.flat());
  if (values.length > MOST_BARS)
    made.style.gridTemplateColumns = `repeat(${Math.ceil(values.length / MOST_BARS)}, auto minmax(0, 1fr) auto)`;
  return made;
}

/**
 * A histogram over 0 to 1; bins from `line` on are solid, those below it faint.
 * @param {number[]} counts
 * @param {{line?: number, title?: string}} options
 */
function histogramOf(counts, { line, title = "" } = {}) {
  const canvas = make("canvas", { className: "chart" });
  canvas.setAttribute("aria-label", title);
  return fitted(canvas, () => {
    const { pen, width, height, ink } = penOf(canvas);
    const floor = height - 18;
    const top = Math.max(1, ...counts);
    const step = width / counts.length;
    counts.forEach((count, i) => {
      pen.globalAlpha = line === undefined || (i + 0.5) / counts.length >= line ? 1 : 0.4;
      pen.fillStyle = CLUSTERS[0];
      pen.fillRect(i * step + 1, floor - (count / top) * (floor - 16), step - 2, (count / top) * (floor - 16));
    });
    pen.globalAlpha = 1;
    pen.fillStyle = pen.strokeStyle = ink;
    for (const [i, at] of [0, 0.5, 1].entries()) {
      pen.textAlign = ALIGNED[i];
      pen.fillText(percent(at), at * width, height - 3);
    }
    pen.textAlign = "right";
    pen.fillText(`up to ${number(top)} images`, width, 11);
    if (line !== undefined) lineDown(pen, line * width, floor);
  });
}

function lineDown(pen, x, height, top = 0) {
  pen.setLineDash([4, 3]);
  pen.beginPath();
  pen.moveTo(x, top);
  pen.lineTo(x, height);
  pen.stroke();
  pen.setLineDash([]);
}

// Prototypes by prototypes: deeper blue means more similar; the diagonal is empty.
function heatOf(values, clusters) {
  const canvas = make("canvas", { className: "heat" });
  const apart = [...values].filter((_, i) => Math.floor(i / clusters) !== i % clusters);
  const [low, high] = [Math.min(...apart), Math.max(...apart)];
  canvas.title = `cosine between prototypes: ${low.toFixed(2)} to ${high.toFixed(2)}`;
  return fitted(canvas, () => {
    const { pen, width, height, ink } = penOf(canvas);
    const edge = 16;
    const side = Math.min(width, height) - edge;
    const each = side / clusters;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    for (let i = 0; i < clusters; i++) {
      pen.fillStyle = ink;
      if (each >= 10) {
        pen.fillText(i, edge + (i + 0.5) * each, edge / 2);
        pen.fillText(i, edge / 2, edge + (i + 0.5) * each);
      }
      for (let j = 0; j < clusters; j++) {
        pen.globalAlpha =
          i === j ? 0.06 : 0.06 + (0.94 * (values[i * clusters + j] - low)) / Math.max(1e-9, high - low);
        pen.fillStyle = i === j ? ink : CLUSTERS[0];
        pen.fillRect(edge + j * each, edge + i * each, each - 1, each - 1);
      }
      pen.globalAlpha = 1;
    }
  });
}

/**
 * Lines over the frames, with a mark at `at` (0 to 1).
 * @param {{name: string, values: number[], colour: string}[]} lines values from 0 to 1
 * @param {{level?: number, words?: string, at?: number}} options
 */
function linesOf(lines, { level, words = "", at } = {}) {
  const canvas = make("canvas", { className: "chart" });
  canvas.setAttribute("aria-label", lines.map((one) => one.name).join(", "));
  const draw = () => {
    const { pen, width, height, ink } = penOf(canvas);
    const floor = height - 4;
    const roof = 16;
    const y = (value) => floor - value * (floor - roof);
    pen.lineWidth = 2;
    lines.forEach(({ name, values, colour }, n) => {
      pen.strokeStyle = pen.fillStyle = colour;
      pen.beginPath();
      for (const [i, value] of values.entries()) pen.lineTo((i / Math.max(1, values.length - 1)) * width, y(value));
      pen.stroke();
      const x = n ? width - pen.measureText(name).width - 20 : 0;
      pen.fillRect(x, 6, 14, 3);
      pen.fillStyle = ink;
      pen.fillText(name, x + 19, 11);
    });
    pen.strokeStyle = pen.fillStyle = ink;
    pen.lineWidth = 1;
    if (level !== undefined) {
      pen.setLineDash([4, 3]);
      pen.beginPath();
      pen.moveTo(0, y(level));
      pen.lineTo(width, y(level));
      pen.stroke();
      pen.setLineDash([]);
      pen.textAlign = "right";
      pen.fillText(words, width, y(level) + (level > 0.5 ? 14 : -5));
    }
    if (canvas.at !== undefined) lineDown(pen, clamp(canvas.at * width, 0.5, width - 0.5), floor, roof);
  };
  canvas.at = at;
  canvas.move = (share) => {
    canvas.at = share;
    if (canvas.clientWidth) draw();
  };
  return fitted(canvas, draw);
}
