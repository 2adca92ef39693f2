// The list of the marked spans, to note and to export.

import { h, fill } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { communeName, groundsLabel } from "/page/state/names.js";
import { shownIncident } from "/page/state/rules.js";
import { csvOf } from "/page/watch/bookmark_list.js";
import { download } from "/page/watch/mosaic_actions.js";
import { fileName } from "/page/watch/png.js";
import { openDialog } from "/page/widget/dialog.js";

/**
 * Opens the list of the incident that is shown.
 * @param {Context} ctx
 */
export function openBookmarks({ store, clock }) {
  const incident = shownIncident(store);
  if (incident === undefined) return;
  const list = h("ul", { class: "stack" });
  /** @param {Bookmark} mark */
  const remove = (mark) => {
    incident.bookmarks.splice(incident.bookmarks.indexOf(mark), 1);
    store.touch("incidents");
    show();
  };
  const show = () =>
    fill(list, ...incident.bookmarks.map((mark) => row(mark, communeName(store, mark.commune), remove)));
  const save = () => {
    const marks = incident.bookmarks.map((mark) => ({
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
  show();
  const title = t("watch.bookmark.title", { ref: incident.ref });
  openDialog({ title, testid: "bookmarks-dialog", wide: true }, (close) => [
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
}

/**
 * @param {Bookmark} mark
 * @param {string} commune its name
 * @param {(mark: Bookmark) => void} remove
 */
function row(mark, commune, remove) {
  const second = (/** @type {number} */ ms) => `${new Date(ms).toISOString().slice(0, 19)}Z`;
  const label = t("watch.bookmark.note");
  const input = () => {
    mark.note = note.value;
  };
  const note = h("input", { value: mark.note, maxlength: 128, "aria-label": label, placeholder: label, on: { input } });
  return h(
    "li",
    { class: "mark" },
    h("strong", { text: `${mark.name} · ${commune}` }),
    h("span", { class: "small mono", text: `${second(mark.from)} → ${second(mark.to)}` }),
    note,
    h("button", { class: "plain", on: { click: () => remove(mark) } }, t("watch.bookmark.remove")),
  );
}
