// Figures: one function per field of a step. Each returns an element or nothing.

const LEAST_CELL = 16;
const NAME_WIDTH = 62;
// Fields drawn by a figure or by the step itself; any other number becomes a tile.
const DRAWN = new Set([
  "says",
  "truth",
  "places",
  "originals",
  "sprite",
  "frames",
  "points",
  "labels",
  "spread",
  "confident",
  "confidence",
  "prototypes",
  "similarity",
  "claimed",
  "sizes",
  "examples",
  "example",
  "neighbours",
  "agreement",
  "verdict",
  "histogram",
  "per_cluster",
  "accepted",
  "refused",
  "xray",
  "passing",
  "threshold",
  "losses",
]);

/**
 * @typedef {object} RowsOptions
 * @property {(place: number, cluster: number, i: number) => string} [title]
 * @property {number} [split] a gap is left before this column
 * @property {number[]} [sizes]
 */

/**
 * Cells in as many columns as fit.
 * @param {Sprite} sprite
 * @param {number[]} places
 * @param {{title?: (place: number, i: number) => string, most?: number}} options
 */
function gridOf(sprite, places, { title = () => "", most } = {}) {
  const cells = places.map((place, i) => sprite.cell(place, title(place, i)));
  return fitted(make("div", { className: "grid" }, ...cells), (width, height) => {
    const side = cellFor(places.length, width, height, most);
    for (const cell of cells) cell.style.setProperty("--cell", `${side}px`);
  });
}

/**
 * A row for each cluster: its number, its pictures, and its size if known.
 * @param {Bundle} bundle
 * @param {number[][]} rows
 * @param {RowsOptions} options
 */
function rowsOf(bundle, rows, { title = () => "", split, sizes } = {}) {
  const widest = Math.max(1, ...rows.map((row) => row.length));
  const largest = Math.max(1, ...(sizes ?? []));
  const made = rows.map((row, k) =>
    make(
      "div",
      { className: "row" },
      make("span", { className: "name" }, swatch(k), String(k)),
      ...row.map((place, i) => {
        const cell = bundle.sheet.cell(place, title(place, k, i));
        if (split && i === split) cell.classList.add("apart");
        return cell;
      }),
      ...Array.from({ length: widest - row.length }, () => text("i", "cell none", "")),
      ...(sizes ? sizeOf(k, sizes[k], largest) : []),
    ),
  );
  const box = make("div", { className: "rows columned" }, ...made);
  return fitted(box, (width, height) => {
    const spare = NAME_WIDTH + (split ? 24 : 0) + (sizes ? 150 : 0);
    layRows(box, rows.length, widest, spare, width, height, 72);
  });
}

function sizeOf(k, size, largest) {
  const bar = text("i", "bar", "");
  Object.assign(bar.style, { width: `${(100 * size) / largest}%`, background: colourOf(k) });
  return [make("span", { className: "track" }, bar), text("em", "count", number(size))];
}

const captioned = (words, figure, weight = 1) => {
  const made = make("figure", { className: "figure" }, words ? text("figcaption", "", words) : undefined, figure);
  // Bars are as high as their number requires; other figures share the rest.
  if (figure.classList.contains("bars")) made.style.flex = "none";
  else made.style.flexGrow = String(weight);
  return made;
};

/** @type {Record<string, (show: any, context: {bundle: Bundle}) => any>} */
const FIGURES = {
  places: ({ places }, { bundle }) =>
    places && captioned("", gridOf(bundle.sheet, places, { title: (one) => bundle.nameOf(one) })),

  views({ originals, sprite }, { bundle }) {
    if (!sprite || !originals) return undefined;
    const own = bundle.own(sprite);
    const each = Math.round(own.count / originals.length);
    const rows = originals.map((place, row) =>
      make(
        "div",
        { className: "row" },
        bundle.sheet.cell(place, `${bundle.nameOf(place)}, as it is`),
        ...Array.from({ length: each }, (_, i) => {
          const cell = own.cell(row * each + i, `view ${i + 1} of ${bundle.nameOf(place)}`);
          if (!i) cell.classList.add("apart");
          return cell;
        }),
      ),
    );
    const box = make("div", { className: "rows" }, ...rows);
    fitted(box, (width, height) => {
      const side = Math.min(height / rows.length - GAP, (width - 30) / (each + 1) - GAP);
      box.style.setProperty("--cell", `${Math.floor(clamp(side, LEAST_CELL, MOST_CELL))}px`);
    });
    return captioned("the image, and random views of it", box);
  },

  points({ points, labels }, { bundle }) {
    if (!points) return undefined;
    const cloud = new Cloud(bundle);
    const places = arrayOf(points);
    const own = labels && shapeOf(labels)[0] === places.length / 2;
    cloud.show(places, places, 0, own ? arrayOf(labels) : bundle.labels);
    return captioned("", cloud.root, 2);
  },

  spread: ({ spread }) =>
    spread &&
    captioned(
      "spread of the features, before and after",
      barsOf(spread.map(Number), {
        colour: () => CLUSTERS[0],
        name: (i) => ["before", "after"][i],
        words: short,
      }),
      0,
    ),

  frames({ frames }, { bundle }) {
    if (!frames?.length) return undefined;
    const film = new Film(bundle, frames);
    return captioned("", film.root, 2);
  },

  confident({ confident, confidence, sizes }, { bundle }) {
    if (!confident) return undefined;
    const sure = (k, i) => (Array.isArray(confidence) ? confidence[k]?.[i] : undefined);
    return captioned(
      sizes ? "each cluster's most confident images, and its size" : "each cluster's most confident images",
      rowsOf(bundle, confident, {
        sizes,
        title: (place, k, i) =>
          `${bundle.nameOf(place)}${sure(k, i) === undefined ? "" : `: ${percent(sure(k, i))} sure`}`,
      }),
      2,
    );
  },

  prototypes: ({ prototypes }, { bundle }) =>
    prototypes &&
    captioned(
      "the mean of their features is the prototype",
      rowsOf(bundle, prototypes, { title: (place) => bundle.nameOf(place) }),
      2,
    ),

  similarity({ similarity }) {
    if (!similarity) return undefined;
    return captioned(
      "prototypes: deeper blue means more similar",
      heatOf(arrayOf(similarity), shapeOf(similarity)[0]),
      1,
    );
  },

  claimed({ claimed, sizes }, { bundle }) {
    if (!claimed) return undefined;
    const half = Math.ceil(Math.max(...claimed.map((row) => row.length)) / 2);
    return captioned(
      "the nearest images to the prototype, and the farthest that still get its label",
      rowsOf(bundle, claimed, {
        title: (place) => bundle.nameOf(place),
        split: half,
        sizes,
      }),
      2,
    );
  },

  examples(show, { bundle }) {
    const examples = show.examples ?? (Array.isArray(show.neighbours) ? [show] : undefined);
    return (
      examples &&
      captioned("an image, then its nearest neighbours with their labels", exampleRows(bundle, examples), 1.4)
    );
  },

  histogram: ({ histogram, threshold }) =>
    histogram &&
    captioned(
      "images by agreement with their neighbours",
      histogramOf([...arrayOf(histogram)], { line: threshold, title: "images by agreement" }),
      1,
    ),

  kept(show) {
    if (!show.per_cluster) return undefined;
    return captioned(
      "kept in each cluster",
      barsOf([...show.per_cluster], {
        most: show.sizes ? Math.max(...show.sizes) : undefined,
        words: (kept, k) => (show.sizes ? `${number(kept)} of ${number(show.sizes[k])}` : number(kept)),
      }),
      1,
    );
  },

  // Rows of pictures already show the sizes.
  sizes: ({ sizes, per_cluster: kept, confident, claimed }) =>
    sizes && !kept && !confident && !claimed && captioned("images in each cluster", barsOf([...sizes]), 0.6),

  accepted: ({ accepted }, { bundle }) =>
    accepted?.length &&
    captioned("accepted", gridOf(bundle.sheet, accepted, { title: (one) => bundle.nameOf(one), most: 56 }), 0.6),

  refused: ({ refused }, { bundle }) =>
    refused?.length &&
    captioned("rejected", gridOf(bundle.sheet, refused, { title: (one) => bundle.nameOf(one), most: 56 }), 0.6),

  passing: ({ passing, xray }) =>
    passing &&
    captioned(
      "share of images that pass τ, over stage 3 (0 to 100%)",
      linesOf([
        { name: `${percent(arrayOf(passing).at(-1))} at the end`, values: [...arrayOf(passing)], colour: CLUSTERS[0] },
      ]),
      xray ? 0.3 : 1,
    ),

  xray: ({ xray }, { bundle }) => xray && bundle.xray && captioned("", new XRay(bundle).root, 2),
};

// An image and its neighbours; neighbours with another label are framed.
function exampleRows(bundle, examples) {
  const least = Math.min(...examples.map((one) => one.neighbours.length));
  const shown = Math.min(least, 24);
  const rows = examples.map((one) => {
    const same = Number(one.label ?? bundle.labels?.[one.example]);
    const cells = one.neighbours.slice(0, shown).map((place, i) => {
      const cell = bundle.sheet.cell(place, `${bundle.nameOf(place)}: cluster ${one.labels[i]}`);
      cell.style.borderBottomColor = colourOf(one.labels[i]);
      cell.classList.add("labelled", ...(one.labels[i] === same ? [] : ["other"]), ...(i ? [] : ["apart"]));
      return cell;
    });
    const first = bundle.sheet.cell(one.example, `${bundle.nameOf(one.example)}: cluster ${same}`);
    first.classList.add("labelled");
    first.style.borderBottomColor = colourOf(same);
    const words = make(
      "span",
      { className: "verdict" },
      text("b", "", percent(one.agreement)),
      one.verdict ? ` ${one.verdict}` : " agree",
    );
    return make("div", { className: "example" }, make("div", { className: "row" }, first, ...cells), words);
  });
  const box = make("div", { className: "rows" }, ...rows);
  return fitted(box, (width, height) => {
    const side = cellFor(shown + 1, width - 20, height / examples.length - 46, 60) - 4;
    box.style.setProperty("--cell", `${Math.max(side, LEAST_CELL)}px`);
  });
}

// Tiles with name and value for numbers that no figure draws.
function tilesOf(show) {
  const found = Object.entries(show).filter(([name, value]) => typeof value === "number" && !DRAWN.has(name));
  if (!found.length) return undefined;
  const words = (value) => (!Number.isInteger(value) && value > 0 && value < 1 ? percent(value) : short(value));
  return make(
    "div",
    { className: "tiles" },
    ...found.map(([name, value]) => make("span", {}, text("b", "", words(value)), text("em", "", readable(name)))),
  );
}

// `truth` is a sentence, a share, or an object of numbers by name.
function truthOf(truth) {
  if (truth === undefined || truth === null) return undefined;
  const words = (value) =>
    typeof value === "number" && value >= 0 && value <= 1
      ? percent(value)
      : typeof value === "number"
        ? short(value)
        : String(value);
  if (typeof truth !== "object") return truthful(words(truth));
  const parts = Object.entries(truth)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${readable(name)} ${words(value)}`);
  return parts.length ? truthful(parts.join(" · ")) : undefined;
}

function figuresOf(show, context) {
  return Object.values(FIGURES)
    .map((figure) => figure(show, context))
    .filter(Boolean);
}
