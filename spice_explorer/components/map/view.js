// The view as text, for the URL and the next visit: colour ~ stage ~ x,y,zoom ~ frame ~ filters.

function viewText({ colour, stage, camera, frame, filters }) {
  const at = [camera.x / SPAN, camera.y / SPAN, camera.zoom / HOME_ZOOM].map((v) => +v.toPrecision(5));
  const only = [...filters].map(([key, filter]) => `${key}:${[...filter].join(",")}`).join(";");
  return [colour ?? "", stage ?? "", at.join(","), frame ?? "", only].join("~");
}

// Parses the text and ignores invalid parts. `specs`: all columns.
function viewOf(text, specs) {
  const [colour, stage, at, frame, only] = text.split("~");
  const [x, y, zoom] = (at ?? "").split(",").map(Number);
  const known = [x, y, zoom].every(Number.isFinite) && zoom > 0;
  return {
    colour: colour || undefined,
    stage: stage || undefined,
    filters: (only ? only.split(";") : []).map((one) => filterOf(one, specs)).filter(Boolean),
    frame: /^\d+$/.test(frame ?? "") ? Number(frame) : undefined,
    camera: known ? { x: x * SPAN, y: y * SPAN, zoom: clamp(zoom, 0.5, 300) * HOME_ZOOM } : undefined,
  };
}

function filterOf(text, specs) {
  const cut = text.lastIndexOf(":");
  const numbers = text
    .slice(cut + 1)
    .split(",")
    .map(Number);
  const spec = specs.find((one) => one.key === text.slice(0, cut));
  if (!spec || !numbers.every(Number.isFinite)) return undefined;
  return [spec.key, spec.kind === "category" ? new Set(numbers) : numbers.slice(0, 2)];
}
