// Short messages, read out by screen readers. What matters stands in the history too.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { lineText } from "/page/incident/line_text.js";

/** How long a message stays, in ms: plain ones, and bad ones. */
const [LIFE, BAD_LIFE] = [7_000, 30_000];
/** Messages at once; the oldest go. */
const MOST = 4;

/** The place of messages, and `toast` that puts one there. */
export function makeToasts() {
  // Two regions: what is bad interrupts a screen reader, the rest waits.
  const [calm, urgent] = [h("div", { "aria-live": "polite" }), h("div", { "aria-live": "assertive" })];
  const element = h("section", { class: "toasts", "aria-label": t("desk.toasts") }, urgent, calm);

  function toast({ level = "info", key, params = {}, detail = "" }) {
    const text = lineText({ key, params });
    for (const old of element.querySelectorAll(".toast")) if (old.dataset.text === `${text}\n${detail}`) old.remove();
    const message = h(
      "div",
      {
        class: `toast ${level}`,
        "data-testid": "toast",
        "data-key": key,
        dataset: { level, text: `${text}\n${detail}` },
      },
      h("div", { class: "grow" }, h("p", { text }), detail ? h("p", { class: "small", text: detail }) : null),
      h(
        "button",
        { class: "plain icon", type: "button", "aria-label": t("desk.close"), on: { click: () => message.remove() } },
        "✕",
      ),
    );
    (level === "bad" ? urgent : calm).append(message);
    const all = element.querySelectorAll(".toast");
    if (all.length > MOST) (calm.firstElementChild ?? urgent.firstElementChild).remove();
    leave(message, level === "bad" ? BAD_LIFE : LIFE);
  }

  return { element, toast };
}

/** Goes by itself, but not while it is pointed at or has the focus. */
function leave(message, life) {
  setTimeout(() => {
    if (message.matches(":hover, :focus-within")) leave(message, life);
    else message.remove();
  }, life);
}
