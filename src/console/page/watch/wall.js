// The mosaic for the wall: a window that the page opened, with a socket of its own. It uses
// the data of the page that opened it, and closes with it.

import { h } from "/page/core/dom.js";
import { preferred, setLang, t } from "/page/core/text.js";
import { timeOfDay } from "/page/core/time_text.js";
import { Mosaic } from "/page/watch/mosaic.js";

const LOOK = 1_000;

const page = /** @type {Window|null} */ (window.opener)?.fanalWall?.();
if (page === undefined) {
  setLang(preferred());
  document.body.append(h("p", { class: "watch-empty", text: t("watch.wall_alone") }));
} else {
  const { ctx, actions, incident } = page;
  const place = h("main", { class: "watch-place" });
  const [title, operator, clock] = [h("strong"), h("span"), h("time", { class: "mono" })];
  document.body.append(
    h("header", { class: "wall-head" }, title, h("span", { class: "grow" }), operator, clock),
    place,
  );
  const head = () => {
    const me = ctx.store.get("me");
    title.textContent = incident ?? "fanal";
    operator.textContent = me === null ? "" : `${me.name} · ${me.unit}`;
    clock.textContent = timeOfDay(ctx.clock.now());
  };
  head();
  const stop = ctx.store.watch(["lang", "theme"], () => {
    setLang(ctx.store.get("lang"));
    document.documentElement.dataset.theme = ctx.store.get("theme");
    document.title = [incident, "fanal"].filter(Boolean).join(" · ");
  });
  const mosaic = new Mosaic(place, ctx, { isMain: false, actions, incident });
  addEventListener("pagehide", () => {
    stop();
    mosaic.end();
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code)?.[1];
    const key = [...mosaic.tiles.keys()][Number(digit) - 1];
    if (event.key === "Escape") mosaic.focused = null;
    else if (event.key === "PageDown" || event.key === "PageUp") mosaic.turn(event.key === "PageDown" ? 1 : -1);
    else if (key !== undefined) mosaic.toggleFocus(key);
    else return;
    event.preventDefault();
  });
  setInterval(() => {
    head();
    if (window.opener === null || window.opener.closed) window.close();
  }, LOOK);
}
