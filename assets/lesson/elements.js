// Helpers for all parts of the player.

const { clusters: CLUSTERS, nobody: NOBODY } = PALETTE;
const STAGES = { features: "Stage 1", heads: "Stage 2", joint: "Stage 3" };

const text = (tag, className, words) => make(tag, { className, textContent: words });
const colourOf = (cluster) => (cluster >= 0 ? CLUSTERS[cluster % CLUSTERS.length] : NOBODY);
const short = (value) => (Number.isInteger(value) ? number(value) : String(Number(value.toPrecision(3))));
const button = (words, onclick, more = {}) => make("button", { type: "button", textContent: words, onclick, ...more });
const swatch = (cluster) => {
  const made = text("i", "swatch", "");
  made.style.background = colourOf(cluster);
  return made;
};
// Values from ground truth are framed and labelled as such, as on every page of the app.
const truthful = (...children) => make("span", { className: "truth" }, text("b", "", "truth"), " ", ...children);
const readable = (name) => capital(name.replaceAll("_", " "));

// The context of a cleared canvas, sized to its element at the screen's resolution.
function penOf(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = `${style.fontSize} ${style.fontFamily}`;
  return { pen, width, height, ink: style.color };
}
