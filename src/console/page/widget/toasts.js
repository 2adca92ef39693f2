// Short messages, read out by screen readers. Important ones are in the history too.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { lineText } from "/page/state/line_text.js";
import { englishDetails } from "/page/widget/details.js";

/** How long a message stays, in ms: plain ones, and bad ones. */
const [LIFE, BAD_LIFE] = [7_000, 30_000];
/** Messages at once; the oldest go. */
const MOST = 4;

// Two regions: a bad message interrupts a screen reader, the others wait.
const [calm, urgent] = [h("div", { "aria-live": "polite" }), h("div", { "aria-live": "assertive" })];
const element = h("section", { class: "toasts" }, urgent, calm);

/** The place of messages. */
export function toastPlace() {
  element.setAttribute("aria-label", t("desk.toasts"));
  return element;
}

/**
 * Shows a message; the same one replaces an older.
 * @param {Toast} message
 */
export function toast({ level = "info", key, params = {}, detail = "", english = "" }) {
  const text = lineText({ key, params });
  const name = `${text}\n${detail}`;
  for (const old of toasts()) if (old.dataset.text === name) old.remove();
  const message = h(
    "div",
    { class: `toast ${level}`, "data-testid": "toast", "data-key": key, dataset: { level, text: name } },
    h(
      "div",
      { class: "grow" },
      h("p", { text }),
      detail ? h("p", { class: "small", text: detail }) : null,
      englishDetails(english),
    ),
    h(
      "button",
      { class: "plain icon", type: "button", "aria-label": t("desk.close"), on: { click: () => message.remove() } },
      "✕",
    ),
  );
  (level === "bad" ? urgent : calm).append(message);
  if (toasts().length > MOST) (calm.firstElementChild ?? urgent.firstElementChild)?.remove();
  leave(message, level === "bad" ? BAD_LIFE : LIFE);
}

/** @returns {NodeListOf<HTMLElement>} */
function toasts() {
  return element.querySelectorAll(".toast");
}

/**
 * Removes a message after its time, but not while it is pointed at or has the focus.
 * @param {HTMLElement} message
 * @param {number} life ms
 */
function leave(message, life) {
  setTimeout(() => {
    if (message.matches(":hover, :focus-within")) leave(message, life);
    else message.remove();
  }, life);
}
