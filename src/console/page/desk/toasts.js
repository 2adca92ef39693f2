// Short messages, read out by screen readers; what is bad stays until it is put away.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { lineText } from "/page/incident/line_text.js";

/** How long good news stay, in ms, and how many messages at most. */
const [LIFE, MOST] = [7_000, 5];

/** The place of messages, and `toast` that puts one there. */
export function makeToasts() {
  // Two regions: what is bad interrupts a screen reader, the rest waits.
  const [calm, urgent] = [h("div", { "aria-live": "polite" }), h("div", { "aria-live": "assertive" })];
  const element = h("section", { class: "toasts", "aria-label": t("desk.toasts") }, urgent, calm);

  function toast({ level = "info", key, params = {}, detail = "" }) {
    const message = h("div", { class: `toast ${level}`, "data-testid": "toast", "data-key": key, dataset: { level } },
      h("div", { class: "grow" },
        h("p", { text: lineText({ key, params }) }),
        detail ? h("p", { class: "small", text: detail }) : null),
      h("button", { class: "plain icon", type: "button", "aria-label": t("desk.close"), on: { click: () => message.remove() } }, "✕"));
    (level === "bad" ? urgent : calm).append(message);
    const all = element.querySelectorAll(".toast");
    if (all.length > MOST) (calm.firstElementChild ?? urgent.firstElementChild).remove();
    if (level !== "bad") leave(message);
  }

  return { element, toast };
}

/** Goes by itself, but not while it is pointed at or has the focus. */
function leave(message) {
  setTimeout(() => {
    if (message.matches(":hover, :focus-within")) leave(message);
    else message.remove();
  }, LIFE);
}
