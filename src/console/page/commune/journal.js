// The journal, searched by camera, day, person and incident.

import { Problem } from "/page/core/api.js";
import { h, fill } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { moment, rowText } from "/page/commune/words.js";
import { problemText } from "/page/state/line_text.js";
import { field } from "/page/widget/dialog.js";

/** Entries that are asked for. */
const MOST = 200;
/** New entries are asked for after this long at the earliest, in ms. */
const REFRESH_AFTER = 2_000;
/** And no more often than leaves the gateway this many times as long at rest as one answer took. */
const REST = 20;

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
  /** What was looked for last. */
  let query = "";
  /** The rows that are shown, by line and time. @type {Map<string, HTMLElement>} */
  let shown = new Map();

  const show = () => {
    if (table === null) return;
    const { entries, left_out: older } = table;
    const told =
      entries.length === 0
        ? t("commune.found_none")
        : [t("commune.found", { n: entries.length }), older > 0 ? t("commune.older", { n: older }) : ""].join(" ");
    if (said.textContent !== told) said.textContent = told;
    // Rows that stay are not touched: one may be open, or have the focus.
    const before = shown;
    shown = new Map();
    for (const row of entries) {
      // A journal that begins again counts from 1.
      const key = `${row.seq} ${row.time}`;
      const known = before.get(key);
      before.delete(key);
      const element = known ?? line(row, shared);
      shown.set(key, element);
      if (known === undefined) rows.prepend(element);
    }
    for (const gone of before.values()) gone.remove();
  };
  /** How long the last answer took, in ms. */
  let took = 0;
  const load = async () => {
    const began = performance.now();
    const wanted = query;
    try {
      const found = await shared.api.get(`journal?${wanted}`);
      // Somebody has looked for something else meanwhile.
      if (wanted !== query) return;
      table = found;
      show();
    } catch (error) {
      said.textContent = problemText(Problem.of(error));
    }
    took = performance.now() - began;
  };
  const search = async () => {
    const wanted = new URLSearchParams({ limit: String(MOST) });
    for (const [name, value] of Object.entries(asked)) if (value.trim() !== "") wanted.set(name, value.trim());
    query = wanted.toString();
    clear();
    await load();
  };
  const clear = () => {
    shown = new Map();
    fill(rows);
  };
  let isDue = false;
  shared.onEntries(() => {
    if (isDue) return;
    isDue = true;
    const refresh = async () => {
      isDue = false;
      if (document.hidden) document.addEventListener("visibilitychange", load, { once: true });
      else await load();
    };
    setTimeout(refresh, Math.max(REFRESH_AFTER, REST * took));
  });
  shared.store.watch(["lang"], () => {
    title.textContent = t("commune.journal");
    fill(place, form(asked, search));
    clear();
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
