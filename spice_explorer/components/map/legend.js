// Legend: turns the values of a column into colours, draws the legend, and filters images.

const MOST_NINES = 5;
const MOST_ENTRIES = 200;
const nines = (p) => -Math.log10(Math.max(1 - p, 10 ** -MOST_NINES)) / MOST_NINES;

// How a value maps to a ramp (0-1), and how a position on the ramp is written.
const RAMPS = {
  share: { place: (v) => v, text: (t) => t.toFixed(2) },
  nines: { place: nines, text: (t) => (1 - 10 ** (-MOST_NINES * t)).toPrecision(t > 0.6 ? 5 : 3) },
  number: {
    place: (v, { low, high }) => (high > low ? (v - low) / (high - low) : 0),
    text: (t, { low, high }) => {
      const value = low + t * (high - low);
      return high - low > 20 ? number(Math.round(value)) : String(+value.toPrecision(3));
    },
  },
};

// The colour of missing values.
const NOTHING = 0xff8c8c8c;
const rgba = (hex) => {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
};

// Clears `seen` where a value does not pass the filter: a set of categories, or [low, high] on the ramp.
function passing(spec, values, filter, seen) {
  if (spec.kind === "category") {
    for (let i = 0; i < seen.length; i++) seen[i] &= filter.has(values[i]);
    return;
  }
  const { place } = RAMPS[spec.kind];
  const [low, high] = filter;
  for (let i = 0; i < seen.length; i++) {
    const t = place(values[i], spec);
    seen[i] &= Number(t >= low - 1e-6 && t <= high + 1e-6);
  }
}

// The colours of the values, (n,) packed RGBA.
function painted(spec, values) {
  const palette = Uint32Array.from(spec.palette, rgba);
  const out = new Uint32Array(values.length);
  const last = palette.length - 1;
  if (spec.kind === "category") {
    for (let i = 0; i < out.length; i++) out[i] = palette[values[i] % palette.length];
    return out;
  }
  const { place } = RAMPS[spec.kind];
  for (let i = 0; i < out.length; i++) {
    out[i] = palette[Math.round(clamp(place(values[i], spec), 0, 1) * last)] ?? NOTHING;
  }
  return out;
}

// The number of images in each category.
function tally(values) {
  const found = new Uint32Array(65536);
  const out = new Map();
  for (let i = 0; i < values.length; i++) found[values[i]]++;
  found.forEach((images, key) => {
    if (images) out.set(key, images);
  });
  return out;
}

/** @typedef {Set<number> | [low: number, high: number]} Filter the categories, or the part of the ramp, that are shown */

class Legend {
  /**
   * @param {HTMLElement} root
   * @param {(key: string, filter: Filter | undefined, rebuild?: boolean) => void} onFilter
   * @param {(thresholds: {agreement: number, confidence: number} | undefined, rebuild?: boolean) => void} onThresholds
   */
  constructor(root, onFilter, onThresholds) {
    this.root = root;
    this.onFilter = onFilter;
    this.onThresholds = onThresholds;
  }

  show(spec, values, filter) {
    this.root.replaceChildren();
    this.counts = this.reset = undefined;
    this.root.append(make("div", { className: "legend-title", textContent: spec.title }));
    if (spec.note) this.root.append(make("div", { className: "legend-note", textContent: spec.note }));
    if (spec.thresholds) this.root.append(this.thresholds(spec.thresholds));
    this.root.append(spec.kind === "category" ? this.entries(spec, values, filter) : this.ramp(spec, filter));
    if (!filter) return;
    const clear = make("button", { className: "clear", textContent: "Show all" });
    clear.onclick = () => this.onFilter(spec.key, undefined);
    this.root.append(clear);
  }

  // New values for the same legend: only the counts change, so that a slider can still be dragged.
  count(values, own) {
    if (this.reset) this.reset.disabled = own;
    if (!this.counts) return;
    const found = tally(values);
    for (const [key, shown] of this.counts) shown.textContent = number(found.get(key) ?? 0);
  }

  entries(spec, values, filter) {
    const found = tally(values);
    this.counts = new Map();
    const names = spec.names ?? [];
    const keys =
      names.length && names.length <= MOST_ENTRIES
        ? names.map((_, i) => i).filter((i) => names[i] !== "")
        : [...found.keys()].sort((a, b) => found.get(b) - found.get(a));
    const list = make("div", { className: "entries" });
    for (const key of keys.slice(0, MOST_ENTRIES)) list.append(this.entry(spec, key, found.get(key) ?? 0, filter));
    if (keys.length > MOST_ENTRIES) {
      list.append(
        make("div", {
          className: "legend-note",
          textContent: `and ${number(keys.length - MOST_ENTRIES)} smaller ones`,
        }),
      );
    }
    return list;
  }

  entry(spec, key, images, filter) {
    const swatch = make("i");
    swatch.style.background = spec.palette[key % spec.palette.length];
    const shown = make("em", { textContent: number(images) });
    this.counts.set(key, shown);
    const button = make(
      "button",
      { className: "entry", title: "Show only this; Ctrl or Shift adds" },
      swatch,
      make("span", { textContent: spec.names?.[key] ?? String(key) }),
      shown,
    );
    button.setAttribute("aria-pressed", String(Boolean(filter?.has(key))));
    button.classList.toggle("off", Boolean(filter) && !filter.has(key));
    button.onclick = (e) => {
      const more = e.ctrlKey || e.metaKey || e.shiftKey;
      const next = new Set(more ? filter : []);
      if (filter?.has(key)) next.delete(key);
      else next.add(key);
      this.onFilter(spec.key, next.size ? next : undefined);
    };
    return button;
  }

  ramp(spec, filter) {
    const [low, high] = filter ?? [0, 1];
    const { text } = RAMPS[spec.kind];
    const bar = make("div", { className: "ramp" });
    bar.style.background = `linear-gradient(90deg, ${spec.palette.join(",")})`;
    const words = make("div", { className: "between" });
    const ends = [low, high].map((value, i) => {
      const end = make("input", { type: "range", min: 0, max: 1, step: 0.005, value });
      end.setAttribute("aria-label", `${i ? "Highest" : "Lowest"} ${spec.title} shown`);
      return end;
    });
    const tell = () => {
      words.textContent = `${text(+ends[0].value, spec)} to ${text(+ends[1].value, spec)}`;
    };
    ends.forEach((end, i) => {
      end.oninput = () => {
        if (+ends[0].value > +ends[1].value) ends[1 - i].value = end.value;
        tell();
        const whole = +ends[0].value === 0 && +ends[1].value === 1;
        this.onFilter(spec.key, whole ? undefined : [+ends[0].value, +ends[1].value], false);
      };
    });
    tell();
    return make("div", {}, bar, ...ends, words);
  }

  // Sliders for the lowest agreement and confidence at which a label is reliable.
  /** @param {{own: boolean, agreement: number, confidence: number}} thresholds */
  thresholds({ own, ...now }) {
    const box = make("div", { className: "thresholds" });
    const slider = (label, place, text, moved) => {
      const words = make("span", { textContent: text(place) });
      const input = make("input", { type: "range", min: 0, max: 1, step: 0.005, value: place });
      input.setAttribute("aria-label", label);
      input.oninput = () => {
        words.textContent = text(+input.value);
        moved(+input.value);
        this.onThresholds({ ...now });
      };
      box.append(make("label", {}, make("b", { textContent: label }), words, input));
    };
    slider(
      "Least agreement",
      now.agreement,
      (v) => v.toFixed(3),
      (v) => {
        now.agreement = v;
      },
    );
    slider("Least confidence", nines(now.confidence), RAMPS.nines.text, (v) => {
      now.confidence = v >= 1 ? 1 : 1 - 10 ** (-MOST_NINES * v);
    });
    this.reset = make("button", { className: "clear", textContent: "Reset to the run's thresholds", disabled: own });
    this.reset.onclick = () => this.onThresholds(undefined, true);
    box.append(this.reset);
    return box;
  }
}
