// What may be asked, for how long, and what stands in the way. Pure: no page, no clock.

/** Most cameras in one request, most names of people present, longest name (interfaces.md 2, 4). */
export const CAMERAS_LIMIT = 200;
export const PRESENT_LIMIT = 20;
export const TEXT_LIMIT = 128;

/** What is asked for where nobody chose, in seconds. */
export const DEFAULT_DURATION = 15 * 60;
/** What can be chosen, in seconds; an agreement may allow less. */
export const DURATIONS = [5, 10, 15, 30, 60, 120, 240].map((minutes) => minutes * 60);
/** From here on the end of a grant is spoken of, in ms. */
export const ENDS_SOON = 2 * 60_000;

const REFERENCE = /^[A-Za-z0-9._/-]{1,64}$/;
/** Control and bidirectional characters: refused by both ends, so not taken here either. */
const UNSAFE = /[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

/** Whether this can be an intervention's reference. */
export function isReference(text) {
  return REFERENCE.test(text);
}

/**
 * Names out of what was typed, parted by commas, semicolons or line ends.
 * @returns {{names: string[], problem: string|null}} `problem` = text key of what is wrong
 */
export function readPresent(text) {
  const names = [
    ...new Set(
      text
        .split(/[,;\n]/)
        .map((name) => name.trim())
        .filter((name) => name !== ""),
    ),
  ];
  if (names.length > PRESENT_LIMIT) return { names, problem: "desk.open.present_many" };
  const isBad = (name) => [...name].length > TEXT_LIMIT || UNSAFE.test(name);
  return { names, problem: names.some(isBad) ? "desk.open.present_bad" : null };
}

/** `COMMUNE/CAMERA` in its two parts. */
export function splitKey(key) {
  const [commune, camera] = key.split("/");
  return { commune, camera };
}

/** Cameras by commune, in parts of at most `CAMERAS_LIMIT`: one request each. */
export function byCommune(keys) {
  const groups = new Map();
  for (const key of new Set(keys)) {
    const { commune, camera } = splitKey(key);
    if (!groups.has(commune)) groups.set(commune, []);
    groups.get(commune).push(camera);
  }
  return [...groups].flatMap(([commune, cameras]) => {
    const parts = [];
    for (let at = 0; at < cameras.length; at += CAMERAS_LIMIT)
      parts.push({ commune, cameras: cameras.slice(at, at + CAMERAS_LIMIT) });
    return parts;
  });
}

/** How long to ask a commune for, in seconds: what was wished, as far as its agreement goes. */
export function durationFor(agreement, wish) {
  return Math.min(wish ?? DEFAULT_DURATION, agreement?.max_duration ?? DEFAULT_DURATION);
}

/**
 * Grounds of all agreements: `{id, fr, en, communes: [ids]}`, those of most communes first.
 * @param {Iterable<object>} communes as the API has them
 */
export function groundsOf(communes) {
  const found = new Map();
  for (const { commune, agreement } of communes) {
    for (const { id, fr, en } of agreement?.grounds ?? []) {
      if (!found.has(id)) found.set(id, { id, fr, en, communes: [] });
      found.get(id).communes.push(commune);
    }
  }
  return [...found.values()].sort((one, other) => other.communes.length - one.communes.length);
}

/** Whether nothing about the camera itself stands in the way at this time (ms, the centre's). */
export function isUsable(camera, now) {
  const { unusable } = camera ?? {};
  return !unusable || (Boolean(unusable.until) && Date.parse(unusable.until) <= now);
}

/**
 * What stands in the way of asking for a camera: `null`, or a text key with its parameters.
 * @param {{incident: object|null, commune: object|undefined, camera: object|undefined, now: number,
 *   online: string, groundsLabel: (id: string) => string, reason: (code: string) => string}} of
 */
export function obstacle({ incident, commune, camera, now, online, groundsLabel, reason }) {
  if (incident === null || incident.closedAt !== null) return { key: "desk.ask.no_incident", params: {} };
  if (online !== "online") return { key: "desk.ask.offline", params: {} };
  if (commune === undefined) return { key: "desk.ask.unknown_commune", params: {} };
  const params = { commune: commune.name ?? commune.commune, contact: commune.contact ?? "" };
  if (commune.agreement === null || commune.agreement === undefined) return { key: "desk.ask.no_agreement", params };
  if (!commune.agreement.grounds.some(({ id }) => id === incident.grounds)) {
    return { key: "desk.ask.grounds", params: { ...params, grounds: groundsLabel(incident.grounds) } };
  }
  if (!commune.online)
    return { key: commune.contact ? "desk.ask.commune_offline_contact" : "desk.ask.commune_offline", params };
  if (!isUsable(camera, now)) return { key: "desk.ask.unusable", params: { reason: reason(camera.unusable.reason) } };
  return null;
}

/** A new intervention. */
export function newIncident({ ref, grounds, present = [], at = null, openedAt }) {
  return {
    ref,
    grounds,
    present,
    at,
    openedAt,
    closedAt: null,
    cameras: [],
    grants: new Set(),
    history: [],
    bookmarks: [],
    // Of the desk alone: what was refused, by camera, and what is wished.
    refusals: new Map(),
    duration: null,
    // Of the pictures: taken out of the mosaic though a grant goes on.
    removed: new Set(),
    // Grants that this page asked for: of others some player may live.
    asked: new Set(),
    // Opened or carried on at this desk; others are the unit's.
    mine: false,
    // The mosaic's order before another person took the seat.
    order: [],
  };
}

/** Interventions that are open: those of this desk, and the others of the unit that have live grants. */
export function openIncidents(incidents, grants) {
  const open = [...incidents.values()].filter(({ closedAt }) => closedAt === null);
  return {
    mine: open.filter(({ mine }) => mine),
    unit: open.filter((incident) => !incident.mine && liveGrants(incident, grants).length > 0),
  };
}

/** Whether this person signed a grant. */
export function isMine(grant, me) {
  return me !== null && grant.operator.number === me.number && grant.operator.unit === me.unit;
}

/** Live grants of an incident, the one that ends soonest first. */
export function liveGrants(incident, grants) {
  const found = [...(incident?.grants ?? [])].map((id) => grants.get(id)).filter((grant) => grant && !grant.ended);
  return found.sort((one, other) => Date.parse(one.expires) - Date.parse(other.expires));
}

/** The grant under which the signer watches a camera: the one that lasts longest. */
export function grantOf(key, incident, grants, me) {
  const { commune, camera } = splitKey(key);
  const covers = (grant) =>
    grant.commune === commune && grant.granted.some((entry) => entry.camera === camera && entry.state !== "ended");
  return liveGrants(incident, grants)
    .filter((grant) => isMine(grant, me) && covers(grant))
    .at(-1);
}

/**
 * What changed between two views of a grant, as history has it: `[{level, key, params}]`.
 * @param {object|undefined} before
 * @param {object} after
 * @param {(key: string) => string} name of a camera, by its key
 */
export function changes(before, after, name) {
  const notes = [];
  const commune = after.commune;
  if (before === undefined && !after.ended) {
    notes.push({ level: "info", key: "desk.history.granted", params: { commune, n: after.granted.length } });
  }
  const changedHands = before !== undefined && before.operator.number !== after.operator.number;
  if (before && !changedHands && !before.ended && after.expires !== before.expires && !after.ended) {
    notes.push({ level: "info", key: "desk.history.renewed", params: { commune, until: Date.parse(after.expires) } });
  }
  if (changedHands) {
    notes.push({
      level: "info",
      key: "desk.history.taken_over",
      params: { commune, from: before.operator.name, to: after.operator.name },
    });
  }
  if (after.ended && !before?.ended) {
    const { reason, detail } = after.ended;
    notes.push({
      level: isExpected(reason) ? "info" : "bad",
      key: "desk.history.ended",
      params: { commune, reason, detail },
    });
    return notes;
  }
  for (const entry of after.granted) {
    const old = before?.granted.find(({ camera }) => camera === entry.camera);
    if (old === undefined || old.state === entry.state) continue;
    const note = cameraChange(old, entry);
    if (note) notes.push({ ...note, params: { ...note.params, camera: name(`${commune}/${entry.camera}`) } });
  }
  return notes;
}

/** Ends that somebody here wanted or knew of. */
function isExpected(reason) {
  return reason === "grant_released" || reason === "grant_expired";
}

function cameraChange(old, { state, reason, detail }) {
  // A lost link is told once, of the commune, not of each of its cameras.
  if ((state === "retrying" ? reason : state === "live" ? old.reason : null) === "link_lost") return null;
  const params = { reason, detail };
  if (state === "ended") return { level: "bad", key: "desk.history.camera_ended", params };
  if (state === "failed") return { level: "bad", key: "desk.history.camera_failed", params };
  if (state === "retrying") return { level: "warn", key: "desk.history.camera_retrying", params };
  if (state === "late") return { level: "warn", key: "desk.history.camera_late", params };
  const wasBad = ["failed", "retrying", "late"].includes(old.state);
  return state === "live" && wasBad ? { level: "info", key: "desk.history.camera_back", params } : null;
}
