// The list of keys.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { openDialog } from "/page/desk/dialog.js";

/** Shows all keys, with the switch that turns them off. */
export function openHelp({ shortcuts }) {
  const change = (event) => {
    shortcuts.enabled = event.target.checked;
  };
  return openDialog({ title: t("desk.help.title"), testid: "shortcuts", wide: true }, () => [
    h(
      "label",
      { class: "row" },
      h("input", { type: "checkbox", checked: shortcuts.enabled, "data-testid": "shortcuts-enabled", on: { change } }),
      h("span", { text: t("desk.help.enabled") }),
    ),
    h(
      "dl",
      { class: "keys" },
      ...lines(shortcuts.list()).map(({ key, words }) =>
        h("div", {}, h("dt", {}, ...caps(key)), h("dd", { text: words })),
      ),
    ),
  ]);
}

/** Keys with their words; those that go with the one before have none of their own. */
function lines(entries) {
  return entries
    .map(({ key, textKey }) => ({ key, words: textKey ? t(textKey) : "" }))
    .filter(({ words }) => words !== "");
}

/** `Shift+L` as two caps, `+` as one. */
function caps(key) {
  const parts = key.length > 1 ? key.split("+") : [key];
  return parts.flatMap((part, index) => [...(index > 0 ? [" + "] : []), h("kbd", { text: capText(part) })]);
}

function capText(part) {
  const named = { " ": "desk.key.space", Shift: "desk.key.shift", Escape: "desk.key.escape" }[part];
  if (named !== undefined) return t(named);
  return part.length === 1 ? part.toUpperCase() : part;
}
