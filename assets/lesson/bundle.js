// The bundle of a lesson, as engine/lesson/build.py writes it: all values come from the engine.

const KINDS = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, i32: Int32Array, f32: Float32Array };
const decoded = new WeakMap();

// A flat typed array from {shape, dtype, data} or from nested lists; `shapeOf` returns its shape.
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

  // A step's own sheet of pictures, decoded once.
  own(sprite, count = sprite.count) {
    if (!this.sheets.has(sprite)) this.sheets.set(sprite, new Sprite(sprite, count));
    return this.sheets.get(sprite);
  }

  // The labels of the last frame that has labels.
  get labels() {
    const last = this.frames.findLast((frame) => frame.labels);
    return last ? arrayOf(last.labels) : undefined;
  }

  close() {
    for (const sheet of [this.sheet, ...this.sheets.values()]) sheet?.close();
  }

  // The image ids at `places`: two lessons may have the same image at different places.
  imagesAt(places) {
    return places.map((place) => arrayOf(this.ids)[place]);
  }

  nameOf(place) {
    return this.names?.[place] ?? `image ${arrayOf(this.ids)[place]}`;
  }
}
