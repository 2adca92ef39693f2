// The page's words, French and English. A key that one of them lacks is a defect (tested).

import * as desk from "/page/text/desk.js";
import * as watch from "/page/text/watch.js";
import * as record from "/page/text/record.js";
import * as find from "/page/text/find.js";
import * as commune from "/page/text/commune.js";

/** @type {Record<Lang, Record<string, string>>} */
const WORDS = {
  fr: spaced({ ...desk.fr, ...watch.fr, ...record.fr, ...find.fr, ...commune.fr }),
  en: { ...desk.en, ...watch.en, ...record.en, ...find.en, ...commune.en },
};

/**
 * French puts a space before these marks, at which no line may break.
 * @param {Record<string, string>} words
 */
function spaced(words) {
  const entries = Object.entries(words).map(([key, text]) => [
    key,
    text.replace(/ ([:;?!»])/g, "\u00a0$1").replaceAll("« ", "«\u00a0"),
  ]);
  return Object.fromEntries(entries);
}

/** @type {Lang} */
let language = "fr";

let variant = "";

/**
 * Lets the words whose keys begin so take the place of the others: `commune.` for the commune's page.
 * @param {string} prefix
 */
export function setVariant(prefix) {
  variant = prefix;
}

/** `fr` or `en`. */
export function lang() {
  return language;
}

/**
 * The language of the browser, French where it has neither.
 * @returns {Lang}
 */
export function preferred() {
  const found = navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag === "fr" || tag === "en");
  return found ?? "fr";
}

/**
 * Switches the language; those that show words watch `lang` in the store.
 * @param {Lang} next
 */
export function setLang(next) {
  language = next;
  document.documentElement.lang = language;
}

/**
 * The words for a key, `{name}` replaced. `key|one` is taken where `params.n` is 1 (or 0 in
 * French) and it exists.
 * @param {string} key
 * @param {TextParams} [params]
 */
export function t(key, params = {}) {
  const words = WORDS[language];
  const isOne = params.n === 1 || (language === "fr" && params.n === 0);
  const own = variant === "" ? undefined : words[variant + key];
  const text = own ?? (isOne ? words[`${key}|one`] : undefined) ?? words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(params[name] ?? ""));
}

/** All words, for the test that compares both languages. */
export function words() {
  return WORDS;
}
