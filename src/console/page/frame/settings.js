// Language and theme: the two settings that this browser remembers.

import { preferred, setLang } from "/page/core/text.js";

/**
 * Reads both and follows their changes in the store.
 * @param {PageStore} store
 */
export function followSettings(store) {
  store.set("lang", read("lang", ["fr", "en"]) ?? preferred());
  store.set("theme", read("theme", ["dark", "light"]) ?? "dark");
  setLang(store.get("lang"));
  document.documentElement.dataset.theme = store.get("theme");
}

/**
 * The other language.
 * @param {PageStore} store
 */
export function switchLang(store) {
  const next = store.get("lang") === "fr" ? "en" : "fr";
  // Before the store tells its listeners: they draw in it.
  setLang(next);
  write("lang", next);
  store.set("lang", next);
}

/**
 * The other theme.
 * @param {PageStore} store
 */
export function switchTheme(store) {
  const next = store.get("theme") === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  write("theme", next);
  store.set("theme", next);
}

/**
 * @template {string} Value
 * @param {string} key
 * @param {Value[]} allowed
 */
function read(key, allowed) {
  try {
    const value = localStorage.getItem(key);
    return allowed.find((one) => one === value) ?? null;
  } catch {
    return null;
  }
}

/**
 * @param {string} key
 * @param {string} value
 */
function write(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Storage is forbidden here: the setting holds until the page is closed.
  }
}
