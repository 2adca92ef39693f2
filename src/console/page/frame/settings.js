// Language and theme: the two settings that this browser remembers.

import { recall, remember } from "/page/core/storage.js";
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
  remember("local", "lang", next);
  store.set("lang", next);
}

/**
 * The other theme.
 * @param {PageStore} store
 */
export function switchTheme(store) {
  const next = store.get("theme") === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  remember("local", "theme", next);
  store.set("theme", next);
}

/**
 * @template {string} Value
 * @param {string} key
 * @param {Value[]} allowed
 */
function read(key, allowed) {
  const value = recall("local", key);
  return allowed.find((one) => one === value) ?? null;
}
