// Native dialogs: they keep the focus inside, close with Escape and give the focus back.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";

let count = 0;

/**
 * Opens a dialog; resolves once it is closed, with the value given to `close`, else `null`.
 * @param {{title: string, testid?: string, wide?: boolean}} options
 * @param {(close: (value?: unknown) => void) => import("/page/core/dom.js").Child[]} content
 * @returns {Promise<unknown>}
 */
export function openDialog({ title, testid, wide = false }, content) {
  const returnTo = document.activeElement;
  count += 1;
  const id = `dialog-title-${count}`;
  return new Promise((resolve) => {
    /** @type {unknown} */
    let result = null;
    /** @param {unknown} [value] */
    const close = (value = null) => {
      result = value;
      dialog.close();
    };
    const head = h(
      "header",
      { class: "dialog-head" },
      h("h2", { id, text: title }),
      h(
        "button",
        { type: "button", class: "plain icon", "aria-label": t("desk.close"), on: { click: () => close() } },
        "✕",
      ),
    );
    const dialog = h(
      "dialog",
      { "aria-labelledby": id, "data-testid": testid, class: wide ? "wide" : "" },
      head,
      ...content(close),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (returnTo instanceof HTMLElement && returnTo.isConnected) returnTo.focus();
      resolve(result);
    });
    document.body.append(dialog);
    dialog.showModal();
    /** @type {HTMLElement|null} */ (dialog.querySelector("[data-autofocus]"))?.focus();
  });
}

/**
 * Asks once; resolves to whether it was confirmed.
 * @param {{title: string, text: string, lines?: string[], action: string, testid?: string}} of
 */
export async function confirm(of) {
  const { sure } = await choose(of);
  return sure;
}

/**
 * The same with another way to confirm, beside: `answer` says which.
 * @param {{title: string, text: string, lines?: string[], action: string, other?: string, testid?: string}} of
 */
export async function choose({ title, text, lines = [], action, other, testid }) {
  const answer = await openDialog({ title, testid }, (close) => [
    h("p", { text }),
    ...(lines.length > 0 ? [h("ul", { class: "lines small" }, ...lines.map((line) => h("li", { text: line })))] : []),
    h(
      "div",
      { class: "row dialog-actions" },
      h("button", { type: "button", on: { click: () => close(false) } }, t("desk.cancel")),
      other === undefined
        ? null
        : h("button", { type: "button", "data-testid": "confirm-other", on: { click: () => close("other") } }, other),
      h(
        "button",
        {
          type: "button",
          class: "primary",
          "data-autofocus": true,
          "data-testid": "confirm",
          on: { click: () => close(true) },
        },
        action,
      ),
    ),
  ]);
  return { answer, sure: answer === true || answer === "other" };
}

/**
 * A labelled field with a place for its error; `say` shows one, `null` none.
 * @template {HTMLInputElement|HTMLSelectElement|HTMLTextAreaElement} Input
 * @param {{label: string, hint?: string, input: Input}} of
 */
export function field({ label, hint, input }) {
  count += 1;
  const id = input.id || `field-${count}`;
  input.id = id;
  const error = h("p", { class: "field-error small", id: `${id}-error`, role: "alert" });
  const described = [hint ? `${id}-hint` : null, `${id}-error`].filter(Boolean).join(" ");
  input.setAttribute("aria-describedby", described);
  const element = h(
    "div",
    { class: "field" },
    h("label", { for: id, text: label }),
    input,
    hint ? h("p", { class: "quiet small", id: `${id}-hint`, text: hint }) : null,
    error,
  );
  /** @param {string|null} text */
  const say = (text) => {
    error.textContent = text ?? "";
    input.toggleAttribute("aria-invalid", Boolean(text));
  };
  return { element, input, say };
}
