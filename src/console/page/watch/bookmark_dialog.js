// The list of the marked spans, to note and to export.

import { h, fill } from "/page/core/dom.js";
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
  let shown = "";
  const show = () => {
    const marks = keeper.bookmarks(incident.ref);
    // A note that is being written is not drawn again.
    const what = JSON.stringify(marks.map(({ id, from, to, pending }) => [id, from, to, pending]));
    if (what === shown) return;
    shown = what;
    fill(list, ...marks.map((mark) => row(mark, communeName(store, mark.commune), on)));
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
 * @param {string} commune its name
 * @param {{remove: (mark: Bookmark) => void, change: (mark: Bookmark) => void}} on
 */
function row(mark, commune, { remove, change: write }) {
  const second = (/** @type {number} */ ms) => `${new Date(ms).toISOString().slice(0, 19)}Z`;
  const label = t("watch.bookmark.note");
  const change = () => write({ ...mark, note: note.value });
  const note = h("input", {
    value: mark.note,
    maxlength: 500,
    "aria-label": label,
    placeholder: label,
    on: { change },
  });
  return h(
    "li",
    { class: "mark" },
    h("strong", { text: [mark.name, commune, mark.pending ? t("record.pending") : ""].filter(Boolean).join(" · ") }),
    h("span", { class: "small mono", text: `${second(mark.from)} → ${second(mark.to)}` }),
    note,
    h("button", { class: "plain", on: { click: () => remove(mark) } }, t("watch.bookmark.remove")),
  );
}
