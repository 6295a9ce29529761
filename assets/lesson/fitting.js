// Fitting: figures fill the space they are given, so that a step never scrolls.

const GAP = 4;
const MOST_CELL = 96;
const LEAST_ROW = 13;
const DENSE_ROW = 26; // row heights at which text is still readable, and at which it must be small

// The largest side of square cells of which `count` fit into width × height.
function cellFor(count, width, height, most = MOST_CELL) {
  let best = 0;
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    best = Math.max(best, Math.min((width + GAP) / columns, (height + GAP) / rows) - GAP);
  }
  return Math.floor(clamp(best, 8, most));
}

// Lays out `count` rows, each with `cells` pictures and `spare` pixels of text, in the number of columns
// that makes the pictures largest, and sets their size.
function layRows(box, count, cells, spare, width, height, most) {
  let best;
  for (let columns = 1; columns <= Math.min(4, count); columns++) {
    const high = height / Math.ceil(count / columns) - GAP;
    const side = Math.min(high, (width / columns - spare - (columns > 1 ? 16 : 0)) / cells - GAP);
    if (!best || best.high < LEAST_ROW || (high >= LEAST_ROW && side > best.side)) best = { side, high, columns };
  }
  box.classList.toggle("dense", best.high < DENSE_ROW);
  box.style.setProperty("--cell", `${Math.floor(clamp(best.side, 7, most))}px`);
  const lines = Math.ceil(count / best.columns);
  box.style.gridTemplate = `repeat(${lines}, min-content) / repeat(${best.columns}, minmax(0, 1fr))`;
}

// Calls `draw(width, height)` now and whenever the size of the element changes.
function fitted(element, draw) {
  let last = "";
  const look = () => {
    const { clientWidth: width, clientHeight: height } = element;
    const size = `${width} ${height}`;
    if (!width || !height || size === last) return;
    last = size;
    draw(width, height);
  };
  const watcher = new ResizeObserver(look);
  watcher.observe(element);
  element.close = () => watcher.disconnect();
  return element;
}
