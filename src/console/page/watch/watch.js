// The middle of the page: the mosaic, and what is done with pictures.

import { h, fill } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { openDialog } from "/page/desk/dialog.js";
import { grantOf, isMine, splitKey } from "/page/incident/rules.js";
import { BEFORE, csvOf } from "/page/watch/bookmark_list.js";
import { Mosaic, TILES_LIMIT, figuresOf } from "/page/watch/mosaic.js";
import { fileName, withTexts } from "/page/watch/png.js";

const ZOOM = 1.5;

/** Mounts the pictures into `element`. */
export function mountWatch(element, ctx) {
  const { store, actions, shortcuts } = ctx;
  const own = makeActions(ctx);
  Object.assign(actions, own);
  const count = h("span", { class: "quiet small", "data-testid": "tile-count" });
  const wall = h("button", { "data-testid": "wall", on: { click: () => openWall(ctx, own) } });
  const full = h("button", { "data-testid": "fullscreen", on: { click: () => fullscreen(place) } });
  const marks = h("button", { "data-testid": "bookmarks", on: { click: () => openBookmarks(ctx) } });
  const empty = h("p", { class: "watch-empty quiet" });
  const place = h("div", { class: "watch-place" }, empty);
  element.append(
    h(
      "div",
      { class: "watch-bar row" },
      h("h2", { class: "visually-hidden" }),
      count,
      h("span", { class: "grow" }),
      marks,
      wall,
      full,
    ),
    place,
  );
  const mosaic = new Mosaic(place, ctx, { isMain: true, actions: own });
  own.live = mosaic.live;
  addEventListener("pagehide", closeWall);
  store.watch(["locked"], () => store.get("locked") && closeWall());
  globalThis.fanalFigures = () => figuresOf(store, mosaic);
  store.watch(["incidents", "incident", "lang", "focused"], () => {
    const incident = store.get("incidents").get(store.get("incident"));
    const n = incident?.cameras.length ?? 0;
    count.textContent =
      n > TILES_LIMIT ? t("watch.too_many", { n, most: TILES_LIMIT }) : n > 0 ? t("watch.count", { n }) : "";
    empty.hidden = n > 0;
    empty.textContent = t(incident === undefined ? "watch.empty_no_incident" : "watch.empty");
    element.querySelector("h2").textContent = t("watch.title");
    wall.textContent = t("watch.wall");
    full.textContent = t("watch.fullscreen");
    marks.textContent = t("watch.bookmarks", { n: incident?.bookmarks.length ?? 0 });
    marks.hidden = (incident?.bookmarks.length ?? 0) === 0;
  });
  const on = (key, name, act) => shortcuts.on(key, `watch.key.${name}`, act);
  const current = (act) => () => {
    const tile = mosaic.current();
    if (tile) act(tile);
  };
  on(
    "f",
    "focus",
    current((tile) => mosaic.toggleFocus(tile.key)),
  );
  on("Escape", "unfocus", () => store.set("focused", null));
  for (let digit = 1; digit <= 9; digit += 1) {
    shortcuts.on(String(digit), digit === 1 ? "watch.key.digit" : "", () => {
      const key = [...mosaic.tiles.keys()][digit - 1];
      if (key) mosaic.toggleFocus(key);
    });
  }
  on(
    "+",
    "zoom_in",
    current((tile) => tile.isFocused && tile.zoom(ZOOM)),
  );
  on(
    "-",
    "zoom_out",
    current((tile) => tile.isFocused && tile.zoom(1 / ZOOM)),
  );
  on(
    "0",
    "zoom_whole",
    current((tile) => tile.zoom(0)),
  );
  on(
    "s",
    "snapshot",
    current((tile) => mosaic.snapshot(tile.key)),
  );
  on(
    "b",
    "bookmark",
    current((tile) => mosaic.bookmark(tile.key)),
  );
  on("w", "wall", () => openWall(ctx, own));
  on("Shift+F", "fullscreen", () => fullscreen(place));
}

function fullscreen(place) {
  if (document.fullscreenElement) document.exitFullscreen();
  else place.requestFullscreen?.().catch(() => {});
}

/** The actions that other parts of the page call too. */
function makeActions(ctx) {
  const { store } = ctx;
  const incident = () => store.get("incidents").get(store.get("incident"));
  const own = {
    focus: (key) => store.set("focused", key),
    removeTile: (key) => removeTile(ctx, incident(), key),
    snapshot: (key, live = own.live) => snapshot(ctx, incident(), key, live),
    bookmark: (key) => bookmark(ctx, incident(), key),
    copy: (text) =>
      navigator.clipboard.writeText(text).then(
        () => ctx.actions.toast({ level: "info", key: "watch.copied", params: {} }),
        () => ctx.actions.toast({ level: "warn", key: "watch.not_copied", params: {}, detail: text }),
      ),
    askSub: (key) => askSub(ctx, incident(), key),
    live: null,
  };
  return own;
}

/** A camera that nobody looks at any more: its grant is given back with its last tile. */
function removeTile(ctx, incident, key) {
  if (incident === undefined) return;
  const { store, actions } = ctx;
  if (store.get("focused") === key) store.set("focused", null);
  const grant = grantOf(key, incident, store.get("grants"), store.get("me"));
  incident.cameras = incident.cameras.filter((other) => other !== key);
  incident.removed.add(key);
  store.touch("incidents");
  if (grant === undefined || !isMine(grant, store.get("me"))) return;
  const shown = grant.granted.some(
    ({ camera, state }) => state !== "ended" && incident.cameras.includes(`${grant.commune}/${camera}`),
  );
  if (!shown) actions.release(grant.grant);
}

/**
 * Asks for a camera's smaller stream beside the one that is granted, and gives that back where
 * this page asked for it and for this camera alone; whether it was granted.
 */
async function askSub(ctx, incident, key) {
  if (incident === undefined) return false;
  const { store, actions } = ctx;
  const grant = grantOf(key, incident, store.get("grants"), store.get("me"));
  const answers = await actions.ask([key], { profile: "sub", beside: true });
  if (!answers.some((answer) => answer.grant !== undefined)) return false;
  const isForItAlone = grant?.granted.filter(({ state }) => state !== "ended").length === 1;
  if (isForItAlone && incident.asked.has(grant.grant)) await actions.release(grant.grant);
  return true;
}

/** A still picture, written down at both ends before there is a file. */
async function snapshot(ctx, incident, key, live) {
  const { store, api, actions } = ctx;
  const { commune } = splitKey(key);
  const grant = incident && grantOf(key, incident, store.get("grants"), store.get("me"));
  if (grant === undefined) return;
  if (store.get("communes").get(commune)?.agreement?.snapshots !== true) {
    actions.toast({
      level: "warn",
      key: "watch.snapshot.not_allowed",
      params: { commune: actions.communeName(commune) },
    });
    return;
  }
  try {
    const taken = await live.snapshot(key);
    const captured = new Date(taken.captured).toISOString();
    const recorded = await api.post("snapshots", { grant: grant.grant, camera: key, captured });
    const me = store.get("me");
    const png = withTexts(taken.png, {
      Title: `${actions.cameraName(key)}, ${actions.communeName(commune)}`,
      Author: `${me.name} (${me.number}, ${me.unit})`,
      "Creation Time": captured,
      Source: key,
      Comment: `fanal snapshot ${recorded.snapshot}; grant ${grant.grant}; incident ${incident.ref}`,
    });
    download(
      new Blob([png], { type: "image/png" }),
      fileName([commune, key.split("/")[1], captured, grant.grant], "png"),
    );
    actions.note(incident.ref, {
      level: "info",
      key: "watch.history.snapshot",
      params: { camera: actions.cameraName(key), grant: grant.grant },
    });
  } catch (error) {
    actions.toast({ level: "bad", key: "watch.snapshot.failed", params: {}, detail: actions.problemText(error) });
  }
}

function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Marks a span of a camera; the second press ends it. */
function bookmark(ctx, incident, key) {
  if (incident === undefined) return;
  const { store, clock, actions } = ctx;
  const { commune } = splitKey(key);
  const now = clock.now();
  const open = incident.bookmarks.find((mark) => mark.camera === key && mark.open);
  if (open) Object.assign(open, { to: now, open: false });
  else {
    incident.bookmarks.push({
      camera: key,
      name: actions.cameraName(key),
      commune,
      from: now - BEFORE,
      to: now,
      note: "",
      open: true,
      clockOffset: store.get("communes").get(commune)?.clock_offset ?? "",
      grant: grantOf(key, incident, store.get("grants"), store.get("me"))?.grant ?? "",
      operator: { ...store.get("me") },
    });
  }
  store.touch("incidents");
  actions.toast({
    level: "info",
    key: open ? "watch.bookmark.ended" : "watch.bookmark.begun",
    params: { camera: actions.cameraName(key) },
  });
}

/** The list of what was marked, to note and to export. */
function openBookmarks(ctx) {
  const { store, actions } = ctx;
  const incident = store.get("incidents").get(store.get("incident"));
  if (incident === undefined) return;
  const list = h("ul", { class: "stack" });
  const show = () =>
    fill(
      list,
      ...incident.bookmarks.map((mark, index) =>
        h(
          "li",
          { class: "mark" },
          h("strong", { text: `${mark.name} · ${actions.communeName(mark.commune)}` }),
          h("span", {
            class: "small mono",
            text: `${new Date(mark.from).toISOString().slice(0, 19)}Z → ${new Date(mark.to).toISOString().slice(0, 19)}Z`,
          }),
          h("input", {
            value: mark.note,
            maxlength: 128,
            "aria-label": t("watch.bookmark.note"),
            placeholder: t("watch.bookmark.note"),
            on: {
              input: ({ target }) => {
                mark.note = target.value;
              },
            },
          }),
          h(
            "button",
            {
              class: "plain",
              on: {
                click: () => {
                  incident.bookmarks.splice(index, 1);
                  store.touch("incidents");
                  show();
                },
              },
            },
            t("watch.bookmark.remove"),
          ),
        ),
      ),
    );
  show();
  openDialog(
    { title: t("watch.bookmark.title", { ref: incident.ref }), testid: "bookmarks-dialog", wide: true },
    (close) => [
      h("p", { class: "quiet small", text: t("watch.bookmark.about") }),
      list,
      h(
        "div",
        { class: "row dialog-actions" },
        h("button", { type: "button", on: { click: () => close() } }, t("watch.close")),
        h(
          "button",
          {
            type: "button",
            class: "primary",
            "data-testid": "bookmarks-export",
            on: {
              click: () => {
                const csv = csvOf(
                  incident.bookmarks.map((mark) => ({
                    ...mark,
                    to: mark.open ? ctx.clock.now() : mark.to,
                    commune: actions.communeName(mark.commune),
                  })),
                  { ref: incident.ref, grounds: actions.groundsLabel(incident.grounds) },
                  lang(),
                );
                download(new Blob([csv], { type: "text/csv" }), fileName(["fanal", incident.ref, "reperes"], "csv"));
              },
            },
          },
          t("watch.bookmark.export"),
        ),
      ),
    ],
  );
}

let wallWindow = null;

/** The mosaic in a window of its own; it ends with this one, and with the lock. */
function openWall(ctx, own) {
  const { store } = ctx;
  const incident = store.get("incident");
  globalThis.fanalWall = () => ({ ctx, actions: own, incident });
  // Opened again it shows what is shown now.
  wallWindow?.close();
  wallWindow = window.open("/page/watch/wall.html", "_blank", "popup,width=1280,height=720");
  if (wallWindow === null) ctx.actions.toast({ level: "warn", key: "watch.wall_blocked", params: {} });
}

function closeWall() {
  wallWindow?.close();
  wallWindow = null;
}
