// Reasons, problems and lines of history in the page's language.

import { lang, t } from "/page/core/text.js";
import { dayAndTime } from "/page/core/time_text.js";

/**
 * The words of a reason code; the code itself where there are none.
 * @param {string|null} code
 */
export function reasonText(code) {
  const key = `desk.reason.${code}`;
  const words = t(key);
  return words === key ? String(code) : words;
}

/**
 * The meaning of a problem and what to do about it.
 * @param {{title?: string, title_fr?: string, detail?: string|null, reason: string}} problem
 */
export function problemText({ title, title_fr: french, detail, reason }) {
  const sentence = (lang() === "fr" ? french : title) || t(`desk.reason.${reason}`);
  const text = sentence.charAt(0).toUpperCase() + sentence.slice(1);
  return detail && detail !== title ? `${text} (${detail})` : `${text}.`;
}

/**
 * The line's sentence: reason codes as words, times as times.
 * @param {Sentence} line
 */
export function lineText({ key, params = {} }) {
  const words = { ...params };
  if (typeof params.reason === "string" && params.reason) words.reason = reasonText(params.reason);
  // A label in both languages.
  if (typeof params.grounds === "object") words.grounds = /** @type {Labels} */ (params.grounds)[lang()];
  if (typeof params.until === "number") words.until = dayAndTime(params.until, Date.now(), lang());
  return t(key, words);
}
