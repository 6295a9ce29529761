// Fitting: figures fill the room they are given, so that a step never needs to be scrolled.

const GAP = 4, MOST_CELL = 96;

// The largest side of a square cell with which `count` of them fit into width × height.
function cellFor(count, width, height, most = MOST_CELL) {
  let best = 0;
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    best = Math.max(best, Math.min((width + GAP) / columns, (height + GAP) / rows) - GAP);
  }
  return Math.floor(clamp(best, 8, most));
}

// Calls `draw(width, height)` now and whenever the element gets another size.
function fitted(element, draw) {
  let last = "";
  const look = () => {
    const { clientWidth: width, clientHeight: height } = element, size = `${width} ${height}`;
    if (!width || !height || size === last) return;
    last = size;
    draw(width, height);
  };
  const watcher = new ResizeObserver(look);
  watcher.observe(element);
  element.close = () => watcher.disconnect();
  return element;
}
