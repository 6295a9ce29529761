// Small things that all parts of the curator use.

const several = (count, one, more = `${one}s`) => `${number(count)} ${count === 1 ? one : more}`;

// A name that nobody else has; `randomUUID` is missing where the page does not come by HTTPS.
const token = () =>
  crypto.randomUUID?.() ??
  Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(16).padStart(8, "0")).join("");

// Memory of this browser, where it has any: a private window may refuse.
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
      /* forgets */
    }
  },
};
