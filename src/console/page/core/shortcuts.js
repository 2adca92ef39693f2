// Single keys, for hands that are on the keyboard. They can be switched off (WCAG 2.1.4).

import { recall, remember } from "/page/core/storage.js";

const OFF = "fanal-shortcuts-off";

/** Elements that take keys themselves. */
const FIELDS = "input, select, textarea, [contenteditable]";

/**
 * The digit of a key press, else `null`: by its place where the layout has another sign there, as
 * a French keyboard has `&` on 1. With shift only where that gives the digit itself.
 * @param {Pick<KeyboardEvent, "key"|"code"|"shiftKey">} event
 */
export function digitOf({ key, code, shiftKey }) {
  if (/^[0-9]$/.test(key)) return Number(key);
  const place = shiftKey ? null : /^Digit([0-9])$/.exec(code);
  return place === null ? null : Number(place[1]);
}

/**
 * Keys that enlarge and reduce, by their place: French keyboards have `=` and `)` there.
 * @type {Record<string, string|undefined>}
 */
const PLACES = { Equal: "+", Minus: "-" };

/**
 * The name of a key press: `event.key`, letters with shift as `Shift+L`; digits, `+` and `-` also
 * by their place on the keyboard. `null` with Ctrl, Alt or Meta, which are the browser's.
 * @param {KeyboardEvent} event
 */
export function keyName(event) {
  const { key, code, shiftKey, ctrlKey, altKey, metaKey } = event;
  if (ctrlKey || altKey || metaKey) return null;
  const digit = digitOf(event);
  if (digit !== null) return String(digit);
  if (PLACES[code] !== undefined) return PLACES[code];
  if (/^\p{L}$/u.test(key)) return shiftKey ? `Shift+${key.toUpperCase()}` : key.toLowerCase();
  return key.length > 1 && shiftKey ? `Shift+${key}` : key;
}

/** The keys and their actions. */
export class Shortcuts {
  /** @type {Map<string, {key: string, textKey: string, handler: (event: KeyboardEvent) => void}>} */
  #entries = new Map();
  #enabled;

  constructor() {
    this.#enabled = recall("session", OFF) === null;
    document.addEventListener("keydown", (event) => this.#press(event));
  }

  /** Whether single keys do anything. */
  get enabled() {
    return this.#enabled;
  }

  set enabled(value) {
    this.#enabled = value;
    remember("session", OFF, value ? null : "1");
  }

  /**
   * Calls `handler` on this key, except in a field, in a dialog or on the locked page.
   * @param {string} key as `keyName` gives it
   * @param {string} textKey its action, for the list
   * @param {(event: KeyboardEvent) => void} handler
   */
  on(key, textKey, handler) {
    this.#entries.set(key, { key, textKey, handler });
  }

  /** All keys and their actions, in the order they were added. */
  list() {
    return [...this.#entries.values()].map(({ key, textKey }) => ({ key, textKey }));
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    if (event.defaultPrevented || event.repeat || event.isComposing) return;
    const entry = this.#entries.get(keyName(event) ?? "");
    if (entry === undefined) return;
    // `?` is how one finds the switch, so it always works.
    if (!this.#enabled && entry.key !== "?") return;
    if (event.target instanceof Element && event.target.closest(FIELDS) !== null) return;
    if (document.querySelector("dialog[open]") !== null || document.documentElement.hasAttribute("data-locked")) return;
    event.preventDefault();
    entry.handler(event);
  }
}
