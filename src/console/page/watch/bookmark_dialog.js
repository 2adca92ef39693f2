// The list of the marked spans, to note and to export.

import { h } from "/page/core/dom.js";
import { download } from "/page/core/download.js";
import { lang, t } from "/page/core/text.js";
import { communeName, groundsLabel } from "/page/state/names.js";
import { shownIncident } from "/page/state/rules.js";
import { csvOf } from "/page/watch/bookmark_list.js";
import { fileName } from "/page/watch/png.js";
import { openDialog } from "/page/widget/dialog.js";

/**
 * Opens the list of the incident that is shown.
 * @param {DeskContext} ctx
 */
export async function openBookmarks({ store, clock, desk }) {
  const incident = shownIncident(store);
  if (incident === undefined) return;
  const list = h("ul", { class: "stack" });
  const { keeper } = desk;
  const on = {
    remove: (/** @type {Bookmark} */ mark) => keeper.withdraw(incident.ref, "bookmarks", mark.id),
    change: (/** @type {Bookmark} */ mark) => keeper.changeBookmark(incident.ref, mark),
  };
  /** @type {Map<string, ReturnType<typeof row>>} */
  const rows = new Map();
  // What is being written in one row stays when another one changes.
  const show = () => {
    const marks = keeper.bookmarks(incident.ref);
    const ids = new Set(marks.map(({ id }) => id));
    for (const [id, { node }] of rows) {
      if (ids.has(id)) continue;
      node.remove();
      rows.delete(id);
    }
    marks.forEach((mark, at) => {
      const known = rows.get(mark.id) ?? row(mark, on);
      rows.set(mark.id, known);
      known.show(mark, communeName(store, mark.commune));
      if (list.children[at] !== known.node) list.insertBefore(known.node, list.children[at] ?? null);
    });
  };
  const save = () => {
    const marks = keeper.bookmarks(incident.ref).map((mark) => ({
      ...mark,
      to: mark.open ? clock.now() : mark.to,
      commune: communeName(store, mark.commune),
    }));
    const csv = csvOf(
      marks,
      { ref: incident.ref, grounds: incident.allGrounds.map((one) => groundsLabel(store, one)).join(", ") },
      lang(),
    );
    download(new Blob([csv], { type: "text/csv" }), fileName(["fanal", incident.ref, "reperes"], "csv"));
  };
  const stop = store.watch(["records", "outbox"], show);
  const title = t("watch.bookmark.title", { ref: incident.ref });
  await openDialog({ title, testid: "bookmarks-dialog", wide: true }, (close) => [
    h("p", { class: "quiet small", text: t("watch.bookmark.about") }),
    list,
    h(
      "div",
      { class: "row dialog-actions" },
      h("button", { type: "button", on: { click: () => close() } }, t("watch.close")),
      h(
        "button",
        { type: "button", class: "primary", "data-testid": "bookmarks-export", on: { click: save } },
        t("watch.bookmark.export"),
      ),
    ),
  ]);
  stop();
}

/**
 * @param {Bookmark} mark
 * @param {{remove: (mark: Bookmark) => void, change: (mark: Bookmark) => void}} on
 */
function row(mark, { remove, change: write }) {
  let now = mark;
  const second = (/** @type {number} */ ms) => `${new Date(ms).toISOString().slice(0, 19)}Z`;
  const label = t("watch.bookmark.note");
  const change = () => write({ ...now, note: note.value });
  const note = h("input", {
    value: mark.note,
    maxlength: 500,
    "aria-label": label,
    placeholder: label,
    on: { change },
  });
  const [name, span] = [h("strong", {}), h("span", { class: "small mono" })];
  const button = h("button", { class: "plain", on: { click: () => remove(now) } }, t("watch.bookmark.remove"));
  return {
    node: h("li", { class: "mark" }, name, span, note, button),
    /**
     * @param {Bookmark} newer
     * @param {string} commune its name
     */
    show(newer, commune) {
      if (note.value === now.note) note.value = newer.note;
      now = newer;
      name.textContent = [newer.name, commune, newer.pending ? t("record.pending") : ""].filter(Boolean).join(" · ");
      span.textContent = `${second(newer.from)} → ${second(newer.to)}`;
    },
  };
}
