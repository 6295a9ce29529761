// The bundle of a lesson, as engine/runs/lesson.py makes it: what is read here, the engine computed.

const KINDS = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, i32: Int32Array, f32: Float32Array };
const decoded = new WeakMap();

// The flat typed array of {shape, dtype, data}, or of plain nested lists; `shapeOf` has its shape.
function arrayOf(spec) {
  if (Array.isArray(spec)) return spec.flat(Infinity);
  if (!decoded.has(spec)) decoded.set(spec, new KINDS[spec.dtype](bytesOf(spec.data).buffer));
  return decoded.get(spec);
}

const shapeOf = (spec) =>
  Array.isArray(spec) ? [spec.length, ...(Array.isArray(spec[0]) ? [spec[0].length] : [])] : spec.shape;

class Bundle {
  constructor(data) {
    Object.assign(this, data);
    this.sheet = data.sprite && new Sprite(data.sprite, data.images);
    this.sheets = new Map();
  }

  // A sheet of pictures of a step's own, decoded once.
  own(sprite, count = sprite.count) {
    if (!this.sheets.has(sprite)) this.sheets.set(sprite, new Sprite(sprite, count));
    return this.sheets.get(sprite);
  }

  // The labels of the last frame that has any.
  get labels() {
    const last = this.frames.findLast((frame) => frame.labels);
    return last ? arrayOf(last.labels) : undefined;
  }

  close() {
    for (const sheet of [this.sheet, ...this.sheets.values()]) sheet?.close();
  }

  // Two lessons may have the same image at two places.
  imagesAt(places) {
    return places.map((place) => arrayOf(this.ids)[place]);
  }

  nameOf(place) {
    return this.names?.[place] ?? `image ${arrayOf(this.ids)[place]}`;
  }
}
