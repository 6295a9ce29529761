// Columns: one value per image, fetched once as bytes and cached; selections are sent as bit sets.

const TYPES = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };
const MOST_KEPT = 48;
const kept = new Map();

// The array at `url`, cached after the first request; URLs contain a version.
function column({ url, type }) {
  if (!kept.has(url)) {
    const coming = fetch(url)
      .then((answer) => {
        if (!answer.ok) throw new Error(`${answer.status} for ${url}`);
        return answer.arrayBuffer();
      })
      .then((buffer) => new TYPES[type](buffer));
    coming.catch(() => kept.delete(url));
    kept.set(url, coming);
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  }
  return kept.get(url);
}

function fromBits(text, count) {
  const bits = bytesOf(text);
  const out = new Uint8Array(count);
  for (let i = 0; i < count; i++) out[i] = (bits[i >> 3] >> (i & 7)) & 1;
  return out;
}

function toBits(chosen) {
  const bits = new Uint8Array(Math.ceil(chosen.length / 8));
  for (let i = 0; i < chosen.length; i++) bits[i >> 3] |= chosen[i] << (i & 7);
  let text = "";
  for (let i = 0; i < bits.length; i += 8192) {
    text += String.fromCharCode(...bits.subarray(i, i + 8192));
  }
  return btoa(text);
}
