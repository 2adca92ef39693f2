// The list of keys.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { openDialog } from "/page/widget/dialog.js";

/**
 * Shows all keys, with the switch that turns them off.
 * @param {Context} ctx
 */
export function openHelp({ shortcuts }) {
  const change = () => {
    shortcuts.enabled = input.checked;
  };
  const input = h("input", {
    type: "checkbox",
    checked: shortcuts.enabled,
    "data-testid": "shortcuts-enabled",
    on: { change },
  });
  return openDialog({ title: t("desk.help.title"), testid: "shortcuts", wide: true }, () => [
    h("label", { class: "row" }, input, h("span", { text: t("desk.help.enabled") })),
    h(
      "dl",
      { class: "keys" },
      ...lines(shortcuts.list()).map(({ key, words }) =>
        h("div", {}, h("dt", {}, ...caps(key)), h("dd", { text: words })),
      ),
    ),
  ]);
}

/**
 * Keys with their words; a key that goes with the one before has none.
 * @param {{key: string, textKey: string}[]} entries
 */
function lines(entries) {
  return entries
    .map(({ key, textKey }) => ({ key, words: textKey ? t(textKey) : "" }))
    .filter(({ words }) => words !== "");
}

/**
 * `Shift+L` as two caps, `+` as one.
 * @param {string} key
 */
function caps(key) {
  const parts = key.length > 1 ? key.split("+") : [key];
  return parts.flatMap((part, index) => [...(index > 0 ? [" + "] : []), h("kbd", { text: capText(part) })]);
}

/** @type {Record<string, string|undefined>} */
const NAMED = { " ": "desk.key.space", Shift: "desk.key.shift", Escape: "desk.key.escape" };

/** @param {string} part */
function capText(part) {
  const named = NAMED[part];
  if (named !== undefined) return t(named);
  return part.length === 1 ? part.toUpperCase() : part;
}
