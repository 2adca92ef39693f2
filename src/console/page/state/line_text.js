// Reasons, problems and lines of history in the page's language.

import { lang, t } from "/page/core/text.js";
import { duration, when } from "/page/core/time_text.js";

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
 * The meaning of a problem and what to do about it. Details are English, so they are part of the
 * sentence only in English; `detailText` gives them.
 * @param {{title?: string, title_fr?: string, detail?: string|null, reason: string}} problem
 */
export function problemText({ title, title_fr: french, detail, reason }) {
  const sentence = (lang() === "fr" ? french : title) || t(`desk.reason.${reason}`);
  const text = sentence.charAt(0).toUpperCase() + sentence.slice(1);
  return detail && detail !== title && lang() === "en" ? `${text} (${detail})` : `${text}.`;
}

/**
 * The English details of a problem, where the page's words do not hold them already.
 * @param {{title?: string, detail?: string|null}} problem
 */
export function detailText({ title, detail }) {
  return lang() === "fr" && detail && detail !== title ? detail : "";
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
  if (typeof params.seconds === "number") words.seconds = duration(params.seconds, lang());
  if (typeof params.until === "number") words.until = when("until", params.until, Date.now(), lang());
  return t(key, words);
}

/** Reasons where a person at the commune can help. */
const AT_THE_COMMUNE = new Set([
  "commune_offline",
  "commune_refused",
  "approval_timed_out",
  "grant_cut",
  "link_lost",
  "camera_unreachable",
  "camera_refused",
  "camera_unauthorized",
  "camera_invalid",
  "mask_not_verified",
  "uplink_full",
]);

/**
 * Whom to call, where a commune stands in the way; empty where it does not, or named nobody.
 * @param {Commune|undefined} commune
 * @param {string} reason
 */
export function contactText(commune, reason) {
  return commune?.contact && AT_THE_COMMUNE.has(reason) ? t("desk.contact", { contact: commune.contact }) : "";
}
