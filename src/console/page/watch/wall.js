// The mosaic for the wall: a window that the page opened, with a socket of its own. It uses
// the data of the page that opened it, and closes with it.

import { h } from "/page/core/dom.js";
import { preferred, setLang, t } from "/page/core/text.js";
import { Mosaic } from "/page/watch/mosaic.js";

const LOOK = 1_000;

const page = /** @type {Window|null} */ (window.opener)?.fanalWall?.();
if (page === undefined) {
  setLang(preferred());
  document.body.append(h("p", { class: "watch-empty", text: t("watch.wall_alone") }));
} else {
  const { ctx, actions, incident } = page;
  const place = h("main", { class: "watch-place" });
  document.body.append(place);
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
  setInterval(() => {
    if (window.opener === null || window.opener.closed) window.close();
  }, LOOK);
}
