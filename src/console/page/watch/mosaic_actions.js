// The actions of the tiles that need the receiver or the incident.

import { download } from "/page/core/download.js";
import { Problem } from "/page/core/api.js";
import { detailText, problemText } from "/page/state/line_text.js";
import { cameraName, communeName } from "/page/state/names.js";
import { note } from "/page/state/records.js";
import { agreementFor, grantOf, isMine, shownIncident, splitKey } from "/page/state/rules.js";
import { markText } from "/page/watch/mark.js";
import { moved } from "/page/watch/pages.js";
import { fileName, imageHash, withTexts } from "/page/watch/png.js";
import { toast } from "/page/widget/toasts.js";

/**
 * @param {DeskContext} ctx
 * @returns {MosaicActions}
 */
export function mosaicActions(ctx) {
  return {
    removeTile: (key, ends) => removeTile(ctx, key, ends),
    move: (key, to) => move(ctx, key, to),
    pin: (key) => pin(ctx, key),
    snapshot: (key, live) => snapshot(ctx, key, live),
    bookmark: (key) => ctx.desk.keeper.toggleBookmark(key),
    copy,
    goOn: (key) => goOn(ctx, key),
    again: (key) => ctx.desk.choose(key),
  };
}

/** @param {string} text */
function copy(text) {
  return navigator.clipboard.writeText(text).then(
    () => toast({ level: "info", key: "watch.copied" }),
    () => toast({ level: "warn", key: "watch.not_copied", detail: text }),
  );
}

/**
 * Goes on to another camera, large where the one before is. The keyboard follows.
 * @param {DeskContext} ctx
 * @param {string} key
 */
function goOn({ store, desk }, key) {
  const isLarge = store.get("focused") !== null;
  if (!desk.isWatched(key) && !desk.choose(key)) return;
  if (isLarge) store.set("focused", key);
  store.set("goTo", key);
}

/**
 * Closes a tile, and gives its camera back: nothing is relayed that nobody watches. Only taken
 * out of the mosaic it can be shown again at once, and is offered for release after a while.
 * @param {DeskContext} ctx
 * @param {string} key
 * @param {boolean} ends
 */
function removeTile({ store, desk }, key, ends) {
  const incident = shownIncident(store);
  if (incident === undefined) return;
  if (store.get("focused") === key) store.set("focused", null);
  const grant = grantOf(key, incident, store.get("grants"), store.get("me"));
  incident.cameras = incident.cameras.filter((other) => other !== key);
  incident.removed.add(key);
  store.touch("incidents");
  if (grant === undefined && desk.cancelCamera(incident.ref, key)) return;
  if (!ends || grant === undefined || !isMine(grant, store.get("me"))) return;
  desk.endCamera(grant.grant, splitKey(key).camera);
}

/**
 * @param {DeskContext} ctx
 * @param {string} key
 * @param {string} to
 */
function move({ store }, key, to) {
  const incident = shownIncident(store);
  if (incident === undefined) return;
  incident.cameras = moved(incident.cameras, key, to);
  store.touch("incidents");
}

/**
 * @param {DeskContext} ctx
 * @param {string} key
 */
function pin({ store }, key) {
  const incident = shownIncident(store);
  if (incident === undefined) return;
  if (!incident.pinned.delete(key)) incident.pinned.add(key);
  store.touch("incidents");
}

/**
 * A still picture; both ends record it before there is a file.
 * @param {DeskContext} ctx
 * @param {string} key
 * @param {{snapshot(key: string, mark: string|null): Promise<Still>}} live
 */
async function snapshot(ctx, key, live) {
  const { store, api } = ctx;
  const { commune, camera } = splitKey(key);
  const [incident, me] = [shownIncident(store), store.get("me")];
  const grant = grantOf(key, incident, store.get("grants"), me);
  if (incident === undefined || me === null || grant === undefined) return;
  const names = { camera: cameraName(store, key), commune: communeName(store, commune) };
  const agreement = agreementFor(store.get("communes").get(commune), grant.grounds);
  if (agreement?.snapshots !== true) {
    toast({ level: "warn", key: "watch.snapshot.not_allowed", params: { commune: names.commune } });
    return;
  }
  try {
    const taken = await live.snapshot(key, agreement.watermark ? markText(me) : null);
    const captured = new Date(taken.captured).toISOString();
    /** @type {SnapshotRecord} */
    const recorded = await api.post("snapshots", {
      grant: grant.grant,
      camera: key,
      captured,
      sha256: await imageHash(taken.png),
    });
    const png = withTexts(taken.png, {
      Title: `${names.camera}, ${names.commune}`,
      Author: `${me.name} (${me.number}, ${me.unit})`,
      "Creation Time": captured,
      Source: key,
      Comment: `fanal snapshot ${recorded.snapshot}; grant ${grant.grant}; incident ${incident.ref}`,
    });
    download(new Blob([png], { type: "image/png" }), fileName([commune, camera, captured, grant.grant], "png"));
    const params = { camera: names.camera, grant: grant.grant };
    note(ctx, incident.ref, { level: "info", key: "watch.history.snapshot", params });
  } catch (error) {
    const problem = Problem.of(error);
    toast({
      level: "bad",
      key: "watch.snapshot.failed",
      detail: problemText(problem),
      english: detailText(problem),
    });
  }
}
