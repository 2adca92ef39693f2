// The list of keys.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { openDialog } from "/page/desk/dialog.js";

/** Shows all keys, with the switch that turns them off. */
export function openHelp({ shortcuts }) {
  const shown = (key) => key.split("+").flatMap((part, index) => [index > 0 ? "+" : null, h("kbd", { text: part === " " ? t("desk.key.space") : part.length === 1 ? part.toUpperCase() : part })]);
  return openDialog({ title: t("desk.help.title"), testid: "shortcuts" }, () => [
    h("label", { class: "row" },
      h("input", { type: "checkbox", checked: shortcuts.enabled, "data-testid": "shortcuts-enabled", on: { change: (event) => { shortcuts.enabled = event.target.checked; } } }),
      h("span", { text: t("desk.help.enabled") })),
    h("dl", { class: "keys" }, ...shortcuts.list().flatMap(({ key, textKey }) => [
      h("dt", {}, ...shown(key).filter(Boolean)), h("dd", { text: t(textKey) })])),
  ]);
}
