// Language and theme: the two things that this browser remembers of whoever sits here.

import { preferred, setLang } from "/page/core/text.js";

/** Reads both and follows their changes in the store. */
export function followSettings(store) {
  store.set("lang", read("lang", ["fr", "en"]) ?? preferred());
  store.set("theme", read("theme", ["dark", "light"]) ?? "dark");
  setLang(store.get("lang"));
  document.documentElement.dataset.theme = store.get("theme");
}

/** The other language. */
export function switchLang(store) {
  const next = store.get("lang") === "fr" ? "en" : "fr";
  // Before the store tells anybody: who then draws already draws in it.
  setLang(next);
  write("lang", next);
  store.set("lang", next);
}

/** The other theme. */
export function switchTheme(store) {
  const next = store.get("theme") === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  write("theme", next);
  store.set("theme", next);
}

function read(key, allowed) {
  try {
    const value = localStorage.getItem(key);
    return allowed.includes(value) ? value : null;
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Forbidden here: it holds until the page is closed.
  }
}
