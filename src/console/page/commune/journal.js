// The journal, searched by camera, day, person and incident.

import { Problem } from "/page/core/api.js";
import { h, fill } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { moment, rowText } from "/page/commune/words.js";
import { problemText } from "/page/state/line_text.js";
import { field } from "/page/widget/dialog.js";

/** Entries that are asked for. */
const MOST = 200;

/**
 * @param {HTMLElement} element
 * @param {import("/page/commune/page.js").Shared} shared
 */
export function mountJournal(element, shared) {
  const title = h("h2", { id: "journal-title" });
  const place = h("div", {});
  const said = h("p", { class: "small quiet", role: "status", "data-testid": "journal-said" });
  const rows = h("ol", { class: "journal-rows", "data-testid": "journal-rows", reversed: true });
  element.append(title, place, said, rows);
  /** @type {JournalTable|null} */
  let table = null;
  /** What the form has. @type {Record<string, string>} */
  const asked = { month: "", day: "", camera: "", operator: "", incident: "" };

  const show = () => {
    if (table === null) return;
    const { entries, left_out: older } = table;
    said.textContent =
      entries.length === 0
        ? t("commune.found_none")
        : [t("commune.found", { n: entries.length }), older > 0 ? t("commune.older", { n: older }) : ""].join(" ");
    fill(rows, ...[...entries].reverse().map((row) => line(row, shared)));
  };
  const search = async () => {
    const query = new URLSearchParams({ limit: String(MOST) });
    for (const [name, value] of Object.entries(asked)) if (value.trim() !== "") query.set(name, value.trim());
    try {
      table = await shared.api.get(`journal?${query}`);
      show();
    } catch (error) {
      said.textContent = problemText(Problem.of(error));
    }
  };
  shared.store.watch(["lang"], () => {
    title.textContent = t("commune.journal");
    fill(place, form(asked, search));
    show();
  });
  search();
}

/**
 * @param {Record<string, string>} asked is kept up to date
 * @param {() => Promise<void>} search
 */
function form(asked, search) {
  /**
   * @param {string} name
   * @param {string} label
   * @param {Record<string, unknown>} more
   */
  const one = (name, label, more = {}) =>
    field({
      label,
      input: h("input", {
        "data-testid": `journal-${name}`,
        autocomplete: "off",
        maxlength: 128,
        value: asked[name],
        ...more,
        on: {
          input: (event) => {
            if (event.target instanceof HTMLInputElement) asked[name] = event.target.value;
          },
        },
      }),
    }).element;
  return h(
    "form",
    {
      class: "search-form",
      on: {
        submit: (event) => {
          event.preventDefault();
          search();
        },
      },
    },
    one("month", t("commune.month"), { placeholder: "2026-11", maxlength: 7, inputmode: "numeric" }),
    one("day", t("commune.day"), { type: "date", maxlength: null }),
    one("camera", t("commune.camera")),
    one("operator", t("commune.person")),
    one("incident", t("commune.incident")),
    h("button", { class: "primary", "data-testid": "journal-search" }, t("commune.search")),
  );
}

/**
 * @param {JournalRow} row
 * @param {import("/page/commune/page.js").Shared} shared
 */
function line(row, shared) {
  const [kind, ...more] = rowText(row, shared.nameOf);
  const whole = h("details", {}, h("summary", { class: "small", text: t("commune.whole") }));
  // Made when it is looked at: a request is 16 KiB of signature.
  whole.addEventListener(
    "toggle",
    () => whole.append(h("pre", { tabindex: "0", text: JSON.stringify(row.body, null, 2) })),
    { once: true },
  );
  return h(
    "li",
    { value: row.seq, dataset: { kind: row.kind } },
    h(
      "p",
      {},
      h("time", { class: "mono small quiet", datetime: row.time, text: `${moment(row.time)} ` }),
      h("strong", { text: kind }),
      more.length > 0 ? ` ${more.join(" · ")}` : null,
    ),
    whole,
  );
}
