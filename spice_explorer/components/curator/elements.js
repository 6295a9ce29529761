// Small things that all parts use.

const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const number = (value) => value.toLocaleString("en");
const several = (count, one, more = `${one}s`) => `${number(count)} ${count === 1 ? one : more}`;
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
// 0% and 100% only where that is exact.
const percent = (share) => `${share > 0 && share < 1 ? clamp(100 * share, 0.1, 99.9).toFixed(1) : 100 * share}%`;

// A name that nobody else has; `randomUUID` is missing where the page does not come by HTTPS.
const token = () => crypto.randomUUID?.()
  ?? Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(16).padStart(8, "0")).join("");

// Memory of this browser, where it has any: a private window may refuse.
const memory = {
  get(name) { try { return JSON.parse(localStorage.getItem(name)); } catch { return null; } },
  set(name, value) { try { localStorage.setItem(name, JSON.stringify(value)); } catch { /* forgets */ } },
};
