// Helpers shared by the lesson's player and the app's components.

/**
 * Creates an element with these properties and children; null and undefined children are ignored.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} properties
 * @param {...(Node | string | null | undefined)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((one) => one !== undefined && one !== null));
  return made;
};

/**
 * The element in `root` for `selector`; our own markup always contains it.
 * @template {HTMLElement} [Kind=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @returns {Kind}
 */
const part = (root, selector) => /** @type {Kind} */ (root.querySelector(selector));

// The closest element for `selector` around the target of an event.
/** @type {(e: Event, selector: string) => HTMLElement | null} */
const holder = (e, selector) => /** @type {Element} */ (e.target).closest(selector);

/** @type {(value: number, low: number, high: number) => number} */
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** @type {(value: number) => string} */
const number = (value) => value.toLocaleString("en");

// "90.4 %", which no line break takes apart; 0 % and 100 % only if that is exact.
/** @type {(share: number, decimals?: number) => string} */
const percent = (share, decimals = 1) => {
  const least = 10 ** -decimals;
  return `${share > 0 && share < 1 ? clamp(100 * share, least, 100 - least).toFixed(decimals) : 100 * share}\u00a0%`;
};

/** @type {(text: string) => string} */
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @type {(base64: string) => Uint8Array<ArrayBuffer>} */
const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

// The browser's local storage, which a private window may deny.
const memory = {
  /** @type {(name: string) => any} */
  get(name) {
    try {
      return JSON.parse(localStorage.getItem(name));
    } catch {
      return null;
    }
  },
  /** @type {(name: string, value: any) => void} */
  set(name, value) {
    try {
      localStorage.setItem(name, JSON.stringify(value));
    } catch {
      /* not remembered */
    }
  },
};
