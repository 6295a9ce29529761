// What the lesson's player and the components of the app share.

/**
 * An element with these properties; children that are not there are left out.
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
 * The one element in `root` for `selector`; our own markup has it.
 * @template {HTMLElement} [Kind=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @returns {Kind}
 */
const part = (root, selector) => /** @type {Kind} */ (root.querySelector(selector));

// The element for `selector` in which an event happened.
/** @type {(e: Event, selector: string) => HTMLElement | null} */
const holder = (e, selector) => /** @type {Element} */ (e.target).closest(selector);

/** @type {(value: number, low: number, high: number) => number} */
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** @type {(value: number) => string} */
const number = (value) => value.toLocaleString("en");

// One decimal, and 0% or 100% only where that is exact.
/** @type {(share: number) => string} */
const percent = (share) => `${share > 0 && share < 1 ? clamp(100 * share, 0.1, 99.9).toFixed(1) : 100 * share}%`;

/** @type {(text: string) => string} */
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @type {(base64: string) => Uint8Array<ArrayBuffer>} */
const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
