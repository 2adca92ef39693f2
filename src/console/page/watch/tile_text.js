// What a tile says of its picture, in words.

import { lang, t } from "/page/core/text.js";
import { age } from "/page/core/time_text.js";
import { contactText, problemText } from "/page/state/line_text.js";
import { TAKEN_OVER } from "/page/watch/tile_state.js";
import { codecName } from "/page/watch/units.js";

/** A camera may take this long to start before a word is said, in ms. */
const PATIENCE = 3_000;

/**
 * Why a camera that starts has no picture yet, after a while.
 * @param {{startedMs: number, isJoined: boolean, entry: GrantedCamera|undefined,
 *   figures: StreamFigures|undefined}} of
 */
export function startingText({ startedMs, isJoined, entry, figures }) {
  if (startedMs < PATIENCE || figures?.awaited) return "";
  return [
    t("watch.starting.since", { age: age(startedMs, lang()) }),
    t(`watch.starting.${startingStep({ isJoined, entry, figures })}`),
  ].join(" ");
}

/**
 * How far it has come: `socket`, `camera`, `key_frame`, `decoder`.
 * @param {{isJoined: boolean, entry: GrantedCamera|undefined, figures: StreamFigures|undefined}} of
 */
export function startingStep({ isJoined, entry, figures }) {
  if (!isJoined) return "socket";
  if ((figures?.received ?? 0) > 0) return "decoder";
  return entry?.state === "live" || entry?.state === "late" ? "key_frame" : "camera";
}

/**
 * Fewer pictures than the camera gives: what to do.
 * @param {TileView} view
 */
export function stutterText({ stutter }) {
  return stutter ? t(`watch.stutter.${stutter.by}`) : "";
}

/**
 * The commune's line keeps pictures back.
 * @param {TileView} view
 * @param {GrantedCamera|undefined} entry
 */
export function keptBack({ state, stutter }, entry) {
  return state === "late" && entry?.state === "late" && !stutter ? t("watch.stutter.line") : "";
}

/**
 * Which of the camera's streams is shown.
 * @param {GrantedCamera|undefined} entry
 * @param {StreamFigures|undefined} figures
 */
export function profileOf(entry, figures) {
  if (entry === undefined) return null;
  const isBeside = figures?.isOther && entry.profile_cause !== "decoder";
  return isBeside ? (entry.profile === "main" ? "sub" : "main") : entry.profile;
}

/**
 * Why that one.
 * @param {GrantedCamera|undefined} entry
 * @param {StreamFigures|undefined} figures
 */
export function causeOf(entry, figures) {
  return figures?.isOther ? "decoder" : (entry?.profile_cause ?? null);
}

/**
 * What came can't be decoded, and the camera's other stream is awaited.
 * @param {StreamFigures|undefined} figures
 * @param {TileView} view
 */
export function awaitedText(figures, { state }) {
  const awaited = state === "starting" || state === "retrying" ? figures?.awaited : null;
  if (!awaited) return "";
  const why = awaited.reason === null ? "" : problemText({ reason: awaited.reason });
  return [t("watch.awaited", { codec: codecName(awaited.codec) }), why].filter(Boolean).join(" ");
}

/**
 * @param {Commune|undefined} commune
 * @param {number|null} silent ms
 */
export function silentText(commune, silent) {
  return silent === null ? "" : t("desk.silent", { commune: commune?.name ?? "", age: age(silent, lang()) });
}

/**
 * Whom to call.
 * @param {Commune|undefined} commune
 * @param {TileView} view
 * @param {number|null} silent
 */
export function contactOf(commune, { state, reason }, silent) {
  if (state === "live" || state === "late") return "";
  return contactText(commune, state === "waiting" ? "commune_refused" : silent !== null ? "link_lost" : (reason ?? ""));
}

/**
 * Why a tile is not live.
 * @param {TileView} view
 */
export function reasonOf({ state, reason, detail }) {
  if (state === "unsupported")
    return [t(`watch.problem.${reason}`), detail === null ? "" : problemText({ reason: detail })]
      .filter(Boolean)
      .join(" ");
  if (reason === null || state === "live") return "";
  if (reason === TAKEN_OVER) return t("watch.tile.taken_over", { to: detail ?? "" });
  return problemText({ reason, detail: detail ?? "" });
}
