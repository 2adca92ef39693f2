// The record of an intervention on the screen: to read, print, export, and to add a note to; and the
// list of those that the centre keeps.

import { h, fill } from "/page/core/dom.js";
import { answerOf, fetchOf, messageOf } from "/page/core/api.js";
import { download } from "/page/core/download.js";
import { lang, t } from "/page/core/text.js";
import { dayAndTime } from "/page/core/time_text.js";
import { groundsLabel } from "/page/state/names.js";
import { notesOf } from "/page/state/record.js";
import { jsonName, sheet } from "/page/record/sheet.js";
import { field, openDialog } from "/page/widget/dialog.js";
import { toast } from "/page/widget/toasts.js";

/** Longest note, in characters. */
const NOTE_LIMIT = 2_000;

/**
 * @typedef {{fetch: (ref: string) => Promise<boolean>, addNote: (ref: string, text: string) => void,
 *   withdraw: (ref: string, kind: "notes"|"bookmarks", id: string) => void}} RecordActions
 */

/**
 * Opens the record of an intervention.
 * @param {Context} ctx
 * @param {RecordActions} keeper
 * @param {string} ref
 */
export async function openRecord(ctx, keeper, ref) {
  const { store } = ctx;
  await keeper.fetch(ref);
  if (!store.get("records").has(ref)) {
    toast({ level: "warn", key: "record.gone", params: { ref } });
    return;
  }
  const place = h("div", { class: "record-place", "data-testid": "record-sheet" });
  const tools = h("ul", { class: "stack small" });
  let drawn = 0;
  const draw = async () => {
    const record = store.get("records").get(ref);
    if (record === undefined) return;
    drawn += 1;
    const number = drawn;
    const element = await sheet(ctx, record);
    // A newer one may have been ready first.
    if (number === drawn) fill(place, element);
    fill(tools, ...ownNotes(ctx, keeper, ref, record));
  };
  const stop = store.watch(["records", "outbox", "lang", "cameras", "communes"], draw);
  document.documentElement.toggleAttribute("data-prints-record", true);
  await openDialog({ title: t("record.open"), testid: "record-dialog", wide: true }, (close) => [
    h(
      "div",
      { class: "row record-tools" },
      button("record-print", "record.print", () => window.print()),
      button("record-html", "record.save_html", () => saveHtml(ctx, ref)),
      button("record-json", "record.save_json", () => saveJson(ctx, ref)),
      h("span", { class: "grow" }),
      button("record-note", "record.note", () => openNote(keeper, ref)),
      button("record-close", "desk.close", () => close()),
    ),
    tools,
    place,
  ]);
  document.documentElement.toggleAttribute("data-prints-record", false);
  stop();
}

/**
 * @param {string} testid
 * @param {string} key of its words
 * @param {() => void} click
 */
function button(testid, key, click) {
  return h("button", { type: "button", "data-testid": testid, on: { click } }, t(key));
}

/**
 * The signer's own notes, with what withdraws them.
 * @param {Context} ctx
 * @param {RecordActions} keeper
 * @param {string} ref
 * @param {KeptRecord} record
 */
function ownNotes({ store }, keeper, ref, record) {
  const me = store.get("me");
  return notesOf(ref, record, store.get("outbox"))
    .filter(({ withdrawn, operator }) => !withdrawn && operator.number === me?.number && operator.unit === me.unit)
    .map(({ id, text }) =>
      h(
        "li",
        { class: "row record-own" },
        h("span", { class: "grow", text: `${t("record.note")} : ${(text ?? "").split("\n")[0].slice(0, 80)}` }),
        button("note-withdraw", "record.withdraw", () => keeper.withdraw(ref, "notes", id)),
      ),
    );
}

/**
 * Asks for a note.
 * @param {Pick<RecordActions, "addNote">} keeper
 * @param {string} ref
 */
export function openNote(keeper, ref) {
  const input = h("textarea", { rows: 5, "data-testid": "note-text", "data-autofocus": true });
  const text = field({ label: t("record.note.text"), hint: t("record.note.about"), input });
  return openDialog({ title: t("record.note.title", { ref }), testid: "note-dialog" }, (close) => {
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      const written = input.value.trim().replaceAll("\r\n", "\n").replaceAll("\t", " ");
      const problem =
        written === "" ? "record.note.missing" : [...written].length > NOTE_LIMIT ? "record.note.long" : null;
      text.say(problem === null ? null : t(problem));
      if (problem !== null) return;
      keeper.addNote(ref, written);
      close();
    };
    return [
      h(
        "form",
        { class: "stack", on: { submit } },
        text.element,
        h(
          "div",
          { class: "row dialog-actions" },
          h("button", { type: "button", on: { click: () => close() } }, t("desk.cancel")),
          h("button", { class: "primary", "data-testid": "note-save" }, t("record.note.save")),
        ),
      ),
    ];
  });
}

/**
 * @param {Context} ctx
 * @param {string} ref
 */
function saveJson({ store, clock }, ref) {
  const record = store.get("records").get(ref);
  if (record === undefined) return;
  const [centre, me] = [store.get("console")?.centre, store.get("me")];
  const by = me && { name: me.name, number: me.number, unit: me.unit };
  const made = { format: "fanal-record", version: 1, centre, made: new Date(clock.now()).toISOString(), by };
  const text = `${JSON.stringify({ ...made, record }, null, 2)}\n`;
  download(new Blob([text], { type: "application/json" }), jsonName(record));
}

/**
 * One file that needs nothing else: the document, its style, and the record itself.
 * @param {Context} ctx
 * @param {string} ref
 */
async function saveHtml(ctx, ref) {
  const record = ctx.store.get("records").get(ref);
  if (record === undefined) return;
  try {
    const style = await styleOfSheet();
    const element = await sheet(ctx, record);
    const title = h("title", { text: t("record.title", { ref }) });
    const html = `<!doctype html>
<html lang="${lang()}">
<head><meta charset="utf-8">${title.outerHTML}<style>${style}</style></head>
<body>${element.outerHTML}</body>
</html>
`;
    download(new Blob([html], { type: "text/html" }), jsonName(record).replace(/json$/, "html"));
  } catch (error) {
    toast({ level: "bad", key: "desk.part_broken", params: { error: messageOf(error) } });
  }
}

/** The style of the document, as a text. */
async function styleOfSheet() {
  const response = await fetchOf("/page/style/record.css", { cache: "default" });
  if (!response.ok) await answerOf(response);
  return response.text();
}

/**
 * Opens the list of the records that the centre keeps for the unit.
 * @param {Context} ctx
 * @param {RecordActions} keeper
 */
export function openRecords(ctx, keeper) {
  const { store, clock } = ctx;
  const list = [...store.get("recordList")].sort((one, other) => Date.parse(other.opened) - Date.parse(one.opened));
  const now = clock.now();
  return openDialog({ title: t("record.list.title"), testid: "records-dialog", wide: true }, (close) => [
    h("p", { class: "quiet small", text: t("record.list.about") }),
    list.length === 0 ? h("p", { class: "quiet", text: t("record.list.none") }) : null,
    h(
      "ul",
      { class: "stack" },
      ...list.map(({ incident, state, opened, closed, grounds, notes, bookmarks }) =>
        h(
          "li",
          {},
          h(
            "button",
            {
              class: "unit-incident",
              type: "button",
              "data-testid": "record-row",
              dataset: { ref: incident, state },
              on: {
                click: () => {
                  close();
                  openRecord(ctx, keeper, incident);
                },
              },
            },
            h("strong", { class: "mono", text: incident }),
            h("span", {
              class: "small quiet",
              text: [
                ...grounds.map((id) => groundsLabel(store, id)),
                dayAndTime(Date.parse(opened), now, lang()),
                state === "closed"
                  ? `${t("record.list.closed")} ${closed ? dayAndTime(Date.parse(closed), now, lang()) : ""}`.trim()
                  : t("record.list.open"),
                bookmarks > 0 ? t("watch.bookmarks", { n: bookmarks }) : "",
                notes > 0 ? `${notes} ${t("record.notes").toLowerCase()}` : "",
              ]
                .filter(Boolean)
                .join(" · "),
            }),
          ),
        ),
      ),
    ),
  ]);
}
