// Helpers for all parts of the curator.

const several = (count, one, more = `${one}s`) => `${number(count)} ${count === 1 ? one : more}`;

// A unique name; `randomUUID` does not exist on pages without HTTPS.
const token = () =>
  crypto.randomUUID?.() ??
  Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(16).padStart(8, "0")).join("");
