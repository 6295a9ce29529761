// Helpers for all parts of the curator.

const several = (count, one, more = `${one}s`) => `${number(count)} ${count === 1 ? one : more}`;

// A unique name; `randomUUID` does not exist on pages without HTTPS.
const token = () =>
  crypto.randomUUID?.() ??
  Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(16).padStart(8, "0")).join("");

// The browser's local storage, which a private window may deny.
const memory = {
  get(name) {
    try {
      return JSON.parse(localStorage.getItem(name));
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(name, JSON.stringify(value));
    } catch {
      /* not remembered */
    }
  },
};
