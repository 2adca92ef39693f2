// The middle of the page: the mosaic, its bar and its keys.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { shownIncident } from "/page/state/rules.js";
import { openBookmarks } from "/page/watch/bookmark_dialog.js";
import { Mosaic, figuresOf } from "/page/watch/mosaic.js";
import { mosaicActions } from "/page/watch/mosaic_actions.js";
import { makeUnwatched } from "/page/watch/unwatched.js";
import { toast } from "/page/widget/toasts.js";

const ZOOM = 1.5;

/**
 * Mounts the pictures into `element`.
 * @param {HTMLElement} element
 * @param {DeskContext} ctx
 */
export function mountWatch(element, ctx) {
  const { store } = ctx;
  const actions = { ...mosaicActions(ctx), turned: () => showPages() };
  const title = h("h2", { class: "visually-hidden" });
  const count = h("span", { class: "quiet small", "data-testid": "tile-count" });
  const wall = h("button", { "data-testid": "wall", on: { click: () => openWall(ctx, actions) } });
  const full = h("button", { "data-testid": "fullscreen", on: { click: () => fullscreen(place) } });
  const marks = h("button", { "data-testid": "bookmarks", on: { click: () => openBookmarks(ctx) } });
  const turn = (/** @type {number} */ step, /** @type {string} */ sign) =>
    h("button", { class: "plain icon", on: { click: () => mosaic.turn(step) } }, sign);
  const [before, after] = [turn(-1, "‹"), turn(1, "›")];
  const page = h("span", { class: "small", "data-testid": "mosaic-page" });
  const pager = h("span", { class: "row", hidden: true }, before, page, after);
  const empty = h("p", { class: "watch-empty quiet" });
  const place = h("div", { class: "watch-place" }, empty);
  const notices = h("div");
  element.append(
    h("div", { class: "watch-bar row" }, title, count, pager, h("span", { class: "grow" }), marks, wall, full),
    notices,
    place,
  );
  const mosaic = new Mosaic(place, ctx, { isMain: true, actions });
  notices.append(makeUnwatched(ctx, mosaic));
  const showPages = () => {
    const shown = mosaic.pages;
    pager.hidden = shown.pages < 2;
    page.textContent = t("watch.page", { page: shown.page + 1, pages: shown.pages });
    for (const [button, name] of /** @type {const} */ ([
      [before, "page_before"],
      [after, "page_next"],
    ])) {
      button.setAttribute("aria-label", t(`watch.key.${name}`));
      button.title = t(`watch.key.${name}`);
    }
  };
  addEventListener("pagehide", closeWall);
  store.watch(["locked"], () => store.get("locked") && closeWall());
  window.fanalFigures = () => figuresOf(store, mosaic);
  store.watch(["incidents", "incident", "lang", "focused", "records", "outbox"], () => {
    const incident = shownIncident(store);
    const n = incident?.cameras.length ?? 0;
    count.textContent = n > 0 ? t("watch.count", { n }) : "";
    showPages();
    empty.hidden = n > 0;
    empty.textContent = t(incident === undefined ? "watch.empty_no_incident" : "watch.empty");
    title.textContent = t("watch.title");
    wall.textContent = t("watch.wall");
    full.textContent = t("watch.fullscreen");
    const marked = incident === undefined ? 0 : ctx.desk.keeper.bookmarks(incident.ref).length;
    marks.textContent = t("watch.bookmarks", { n: marked });
    marks.hidden = marked === 0;
  });
  addShortcuts(ctx, mosaic, { wall: () => openWall(ctx, actions), fullscreen: () => fullscreen(place) });
}

/**
 * @param {Context} ctx
 * @param {Mosaic} mosaic
 * @param {{wall: () => void, fullscreen: () => void}} open
 */
function addShortcuts({ store, shortcuts }, mosaic, open) {
  /**
   * @param {string} key
   * @param {string} name
   * @param {() => void} act
   */
  const on = (key, name, act) => shortcuts.on(key, `watch.key.${name}`, act);
  /**
   * @param {string} key
   * @param {string} name
   * @param {(tile: import("/page/watch/tile.js").Tile) => void} act
   */
  const onTile = (key, name, act) =>
    on(key, name, () => {
      const tile = mosaic.current();
      if (tile) act(tile);
    });
  onTile("f", "focus", (tile) => mosaic.toggleFocus(tile.key));
  on("Escape", "unfocus", () => store.set("focused", null));
  for (let digit = 1; digit <= 9; digit += 1) {
    shortcuts.on(String(digit), digit === 1 ? "watch.key.digit" : "", () => {
      const key = [...mosaic.tiles.keys()][digit - 1];
      if (key === undefined) return;
      mosaic.touch(key);
      mosaic.toggleFocus(key);
      store.set("goTo", key);
    });
  }
  onTile("+", "zoom_in", (tile) => (tile.isFocused ? tile.zoom(ZOOM) : mosaic.toggleFocus(tile.key)));
  onTile("-", "zoom_out", (tile) => tile.isFocused && tile.zoom(1 / ZOOM));
  onTile("0", "zoom_whole", (tile) => tile.zoom(0));
  onTile("s", "snapshot", (tile) => mosaic.snapshot(tile.key));
  onTile("b", "bookmark", (tile) => mosaic.bookmark(tile.key));
  on("PageDown", "page_next", () => mosaic.turn(1));
  on("PageUp", "page_before", () => mosaic.turn(-1));
  on("w", "wall", open.wall);
  on("Shift+F", "fullscreen", open.fullscreen);
}

/** @param {HTMLElement} place */
function fullscreen(place) {
  if (document.fullscreenElement) document.exitFullscreen();
  else place.requestFullscreen?.().catch(() => {});
}

/** @type {Window|null} */
let wallWindow = null;

/**
 * The mosaic in a window of its own; it ends with this one, and with the lock.
 * @param {DeskContext} ctx
 * @param {MosaicActions} actions
 */
function openWall(ctx, actions) {
  const incident = ctx.store.get("incident");
  window.fanalWall = () => ({ ctx, actions, incident });
  // A window that is opened again shows the incident that is shown now.
  wallWindow?.close();
  wallWindow = window.open("/page/watch/wall.html", "_blank", "popup,width=1280,height=720");
  if (wallWindow === null) toast({ level: "warn", key: "watch.wall_blocked" });
}

function closeWall() {
  wallWindow?.close();
  wallWindow = null;
}
