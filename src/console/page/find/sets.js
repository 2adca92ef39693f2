// The saved sets of cameras: a button for each, and the dialog that keeps them.

import { h } from "/page/core/dom.js";
import { digitOf } from "/page/core/shortcuts.js";
import { t } from "/page/core/text.js";
import { loadSelections, readSelections, saveSelections } from "/page/find/selections.js";

/** Sets that have a button and Alt with a digit. */
const BUTTONS = 9;
/** Longest file that is imported, in bytes. */
const FILE_LIMIT = 1 << 20;

/** The sets of this workstation. */
export class Sets {
  #ask;
  #sets = loadSelections();
  element = h("ul", { class: "sets row" });

  /** @param {(cameras: string[]) => void} ask for a set's cameras */
  constructor(ask) {
    this.#ask = ask;
    document.addEventListener("keydown", (event) => {
      if (!event.altKey || event.ctrlKey) return;
      const set = this.#sets[(digitOf(event) ?? 0) - 1];
      if (set === undefined || document.querySelector("dialog[open]") !== null) return;
      event.preventDefault();
      this.#ask(set.cameras);
    });
  }

  /** Shows the buttons, in the page's language. */
  show() {
    const button = (/** @type {CameraSet} */ { name, cameras }, /** @type {number} */ index) => {
      const title = t("find.sets.hint", { n: cameras.length, key: index + 1 });
      return h("li", {}, h("button", { class: "small", title, on: { click: () => this.#ask(cameras) } }, name));
    };
    this.element.replaceChildren(...this.#sets.slice(0, BUTTONS).map(button));
    this.element.hidden = this.#sets.length === 0;
  }

  /** @param {CameraSet[]} sets */
  #keep(sets) {
    this.#sets = saveSelections(sets);
    this.show();
  }

  /**
   * Opens the dialog: saves these cameras, removes, imports and exports sets.
   * @param {string[]} cameras
   * @param {string} suggested name
   */
  open(cameras, suggested) {
    const input = h("input", { maxlength: "60", value: suggested, "aria-label": t("find.sets.name") });
    /** @param {Event} event */
    const submit = (event) => {
      event.preventDefault();
      const name = input.value.trim();
      if (name === "") return;
      this.#keep([...this.#sets, { name, cameras }]);
      dialog.close();
    };
    /** @param {CameraSet} set */
    const remove = (set) => {
      this.#keep(this.#sets.filter((other) => other !== set));
      dialog.close();
    };
    const change = async () => {
      const text = await file.files?.[0]?.slice(0, FILE_LIMIT).text();
      this.#keep([...this.#sets, ...readSelections(text)]);
      dialog.close();
    };
    const file = h("input", { type: "file", accept: "application/json", hidden: true, on: { change } });
    const url = URL.createObjectURL(new Blob([JSON.stringify(this.#sets, null, 1)], { type: "application/json" }));
    const row = (/** @type {CameraSet} */ set) =>
      h(
        "li",
        { class: "row" },
        h("span", { class: "grow", text: `${set.name} (${set.cameras.length})` }),
        h("button", { class: "plain", type: "button", on: { click: () => remove(set) } }, t("find.sets.remove")),
      );
    const dialog = h(
      "dialog",
      { "aria-labelledby": "sets-title" },
      h("h2", { id: "sets-title", text: t("find.sets.title") }),
      h("p", { class: "quiet small", text: t("find.sets.about", { n: cameras.length }) }),
      h(
        "form",
        { class: "row", on: { submit } },
        h("div", { class: "grow" }, input),
        h("button", { class: "primary" }, t("find.sets.save")),
      ),
      h("ul", { class: "stack" }, ...this.#sets.map(row)),
      h(
        "div",
        { class: "row dialog-actions" },
        file,
        h("button", { type: "button", on: { click: () => file.click() } }, t("find.sets.import")),
        h("a", { class: "button", href: url, download: "fanal-selections.json" }, t("find.sets.export")),
        h("button", { type: "button", on: { click: () => dialog.close() } }, t("desk.close")),
      ),
    );
    dialog.addEventListener("close", () => {
      URL.revokeObjectURL(url);
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
    input.select();
  }
}
