// What the receiver adds in English, for the person who is called for help.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";

/**
 * The details, folded; nothing where there are none.
 * @param {string} text
 */
export function englishDetails(text) {
  if (text === "") return null;
  return h(
    "details",
    { class: "small quiet" },
    h("summary", { text: t("desk.details") }),
    h("p", { lang: "en", text }),
  );
}
