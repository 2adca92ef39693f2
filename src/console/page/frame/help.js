// The list of keys.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { SOUNDS } from "/page/frame/sounds.js";
import { openDialog } from "/page/widget/dialog.js";

/**
 * Shows all keys, with the switch that turns them off.
 * @param {Context} ctx
 * @param {import("/page/frame/sounds.js").Sounds} sounds
 */
export function openHelp({ shortcuts }, sounds) {
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
    soundChoice(sounds),
    h(
      "dl",
      { class: "keys" },
      ...[...lines(shortcuts.list()), ...others()].map(({ key, words }) =>
        h("div", {}, h("dt", {}, ...caps(key)), h("dd", { text: words })),
      ),
    ),
  ]);
}

/**
 * The sounds' volume, 0 is off, and a button that plays them.
 * @param {import("/page/frame/sounds.js").Sounds} sounds
 */
function soundChoice(sounds) {
  const input = () => {
    sounds.volume = Number(volume.value);
  };
  const volume = h("input", {
    type: "range",
    min: 0,
    max: 1,
    step: 0.1,
    value: sounds.volume,
    "data-testid": "volume",
    "aria-label": `${t("desk.sound.title")} : ${t("desk.sound.volume")}`,
    on: { input },
  });
  let next = 0;
  const play = () => {
    sounds.play(SOUNDS[next % SOUNDS.length]);
    next += 1;
  };
  return h(
    "div",
    { class: "row sound-choice" },
    h("span", { text: t("desk.sound.title") }),
    volume,
    h("button", { type: "button", "data-testid": "sound-try", on: { click: play } }, t("desk.sound.try")),
  );
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

/** Keys of the list, of tiles and of the saved sets, which are no single keys of the whole page. */
function others() {
  return [
    { key: "Enter", words: t("desk.help.enter") },
    { key: "Delete", words: t("desk.help.delete") },
    { key: "Shift+Delete", words: t("desk.help.shift_delete") },
    { key: "P", words: t("desk.help.pin") },
    { key: "arrows", words: t("desk.help.arrows") },
    { key: "Shift+arrows", words: t("desk.help.shift_arrows") },
    { key: " ", words: t("desk.help.space") },
    { key: "Shift+click", words: t("desk.help.shift_click") },
    { key: "Alt+1-9", words: t("desk.help.alt_digit") },
  ];
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
const NAMED = {
  " ": "desk.key.space",
  1: "desk.key.digits",
  "1-9": "desk.key.digits",
  Delete: "desk.key.delete",
  Enter: "desk.key.enter",
  Escape: "desk.key.escape",
  PageDown: "desk.key.page_down",
  PageUp: "desk.key.page_up",
  Shift: "desk.key.shift",
  arrows: "desk.key.arrows",
  click: "desk.key.click",
};

/** @param {string} part */
function capText(part) {
  const named = NAMED[part];
  if (named !== undefined) return t(named);
  return part.length === 1 ? part.toUpperCase() : part;
}
