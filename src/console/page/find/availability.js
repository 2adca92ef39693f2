// Whether a camera can be watched now, and the words for why not.

import { lang, t } from "/page/core/text.js";
import { isUsable } from "/page/state/rules.js";

/**
 * Whether the camera itself could be shown now; communes come and go by events.
 * @param {Context} ctx
 * @param {Camera} camera
 */
export function isAvailable({ store, clock }, camera) {
  return isUsable(camera, clock.now()) && (store.get("communes").get(camera.commune)?.online ?? camera.online);
}

/**
 * The obstacle, unless it is only that no intervention is open.
 * @param {Required<Sentence>|null} obstacle
 */
export function realObstacle(obstacle) {
  return obstacle?.key === "desk.ask.no_incident" ? null : obstacle;
}

/**
 * Since when a camera or its commune is away; empty where that is not known.
 * @param {PageStore} store
 * @param {Camera} camera
 */
export function sinceText(store, camera) {
  const commune = store.get("communes").get(camera.commune);
  const since = commune?.online === false ? commune.since : camera.unusable?.since;
  if (!since) return "";
  const language = lang() === "fr" ? "fr-FR" : "en-GB";
  const at = new Date(since).toLocaleString(language, { dateStyle: "short", timeStyle: "short" });
  return ` (${t("find.since", { at })})`;
}
