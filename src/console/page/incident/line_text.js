// A line of history in the page's language.

import { lang, t } from "/page/core/text.js";
import { dayAndTime } from "/page/core/time_text.js";

/** The words of a reason code; the code itself where there are none. */
export function reasonText(code) {
  const key = `desk.reason.${code}`;
  const words = t(key);
  return words === key ? code : words;
}

/** The line's sentence: reason codes as words, times as times. */
export function lineText({ key, params = {} }) {
  const words = { ...params };
  if (params.reason) words.reason = reasonText(params.reason);
  // A label in both languages.
  if (typeof params.grounds === "object") words.grounds = params.grounds[lang()];
  if (typeof params.until === "number") words.until = dayAndTime(params.until, Date.now(), lang());
  return t(key, words);
}
