// The state of a tile's picture. Pure: no page, no clock.

/** Without a new picture for this long its age counts visibly, in ms. */
export const SILENT = 1_000;
/** Without a new picture for this long it is frozen, in ms. */
export const FROZEN = 3_000;
/** A picture older than this when it is shown is late, in ms. */
export const LATE = 2_000;

/** Why a tile has no picture whose grant a colleague carries on; of the page alone. */
export const TAKEN_OVER = "taken_over";

/** States in which a picture may be seen. */
const PICTURED = new Set(["live", "late", "frozen"]);

/**
 * Whether a tile in this state shows a picture.
 * @param {string} state
 */
export function isPictured(state) {
  return PICTURED.has(state);
}

/**
 * The state of a tile: `locked`, `paused`, `waiting` (for the commune), `asked`, `starting`,
 * `live`, `late`, `frozen`, `retrying`, `unsupported`, `failed`, `ended`.
 *
 * A picture that stopped coming is never `live`, whatever the grant says.
 * @param {{locked: boolean, paused: boolean, online: boolean, connected: boolean,
 *   grant: Grant|undefined, entry: GrantedCamera|undefined, approval: Approval|undefined,
 *   ended: Why|null, figures: StreamFigures|undefined, problem: Why|null,
 *   flow?: import("/page/watch/flow.js").Flow, now: number, centreNow: number, clockOffset: number}} of
 *   `flow`: what was so a moment ago; `now`: ms of the same clock as `figures.shownAt`; `centreNow`, ms
 *   UTC; `clockOffset`, s
 * @returns {TileView}
 */
export function tileState(of) {
  const { grant, entry, figures } = of;
  const silentMs = figures?.shownAt ? Math.max(0, of.now - figures.shownAt) : null;
  const ageMs = figures?.captured ? Math.max(0, of.centreNow - (figures.captured - of.clockOffset * 1000)) : null;
  /**
   * @param {string} state
   * @param {Why|null|undefined} [why]
   */
  const say = (state, why = null) => ({
    state,
    reason: why?.reason ?? null,
    detail: why?.detail ?? null,
    silentMs,
    ageMs,
  });
  if (of.locked) return say("locked");
  if (of.ended !== null) return say("ended", of.ended);
  if (grant === undefined) return say(of.approval === undefined ? "asked" : "waiting");
  if (grant.ended) return say("ended", grant.ended);
  if (entry === undefined || entry.state === "ended") return say("ended", entry);
  if (entry.state === "failed") return say("failed", entry);
  if (of.problem !== null) return say("unsupported", of.problem);
  if (of.paused) return say("paused");
  if (silentMs === null) return say(entry.state === "retrying" ? "retrying" : "starting", entry);
  const isOld = figures?.kept === true && (ageMs ?? 0) >= FROZEN;
  if (silentMs >= FROZEN || isOld || !of.online || !of.connected) return say("frozen", entry);
  const isLate = silentMs >= SILENT || (ageMs ?? 0) >= LATE || entry.state === "late";
  return say((of.flow?.late(isLate, of.now) ?? isLate) ? "late" : "live", entry);
}
