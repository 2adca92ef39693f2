// Interventions and grants: what may be asked, for how long, why not. Pure: no page, no clock.

/** Most cameras in one request, most names of people present, longest name (interfaces.md 2, 4). */
export const CAMERAS_LIMIT = 200;
export const PRESENT_LIMIT = 20;
export const TEXT_LIMIT = 128;

/** Duration that is asked for where nobody chose one, in seconds. */
export const DEFAULT_DURATION = 15 * 60;
/** Durations that can be chosen, in seconds; an agreement may allow less. */
export const DURATIONS = [5, 10, 15, 30, 60, 120, 240].map((minutes) => minutes * 60);
/** The page warns of a grant's end from this long before it, in ms. */
export const ENDS_SOON = 2 * 60_000;

const REFERENCE = /^[A-Za-z0-9._/-]{1,64}$/;
/** Control and bidirectional characters: receiver and gateway refuse them, so the page does too. */
const UNSAFE = /[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

/**
 * Whether this can be an intervention's reference.
 * @param {string} text
 */
export function isReference(text) {
  return REFERENCE.test(text);
}

/**
 * The intervention that is shown.
 * @param {PageStore} store
 */
export function shownIncident(store) {
  return store.get("incidents").get(store.get("incident") ?? "");
}

/**
 * Names in a typed text, separated by commas, semicolons or line ends.
 * @param {string} text
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
  /** @param {string} name */
  const isBad = (name) => [...name].length > TEXT_LIMIT || UNSAFE.test(name);
  return { names, problem: names.some(isBad) ? "desk.open.present_bad" : null };
}

/**
 * `COMMUNE/CAMERA` in its two parts.
 * @param {string} key
 */
export function splitKey(key) {
  const [commune = "", camera = ""] = key.split("/");
  return { commune, camera };
}

/**
 * Cameras by commune, in parts of at most `CAMERAS_LIMIT`: one request each.
 * @param {string[]} keys
 */
export function byCommune(keys) {
  const groups = Map.groupBy(new Set(keys), (key) => splitKey(key).commune);
  return [...groups].flatMap(([commune, found]) => {
    const cameras = found.map((key) => splitKey(key).camera);
    const parts = [];
    for (let at = 0; at < cameras.length; at += CAMERAS_LIMIT)
      parts.push({ commune, cameras: cameras.slice(at, at + CAMERAS_LIMIT) });
    return parts;
  });
}

/**
 * The agreements of the unit with a commune.
 * @param {Commune|undefined} commune
 * @returns {Agreement[]}
 */
export function agreementsOf(commune) {
  return commune?.agreements ?? (commune?.agreement ? [commune.agreement] : []);
}

/**
 * The agreement under which to ask a commune on these grounds, if one allows them.
 * @param {Commune|undefined} commune
 * @param {string} grounds
 */
export function agreementFor(commune, grounds) {
  return agreementsOf(commune).find((agreement) => agreement.grounds.some(({ id }) => id === grounds));
}

/**
 * The grounds under which an intervention asks a commune: those in use, else others of the
 * intervention that the commune's agreement allows; `null` where it allows none of them.
 * @param {Incident} incident
 * @param {Commune|undefined} commune
 */
export function groundsFor(incident, commune) {
  const wanted = [incident.grounds, ...incident.allGrounds];
  return wanted.find((grounds) => agreementFor(commune, grounds) !== undefined) ?? null;
}

/**
 * How long to ask a commune for, in seconds: the wish, as far as the agreement allows it.
 * @param {Agreement|null|undefined} agreement
 * @param {number|null} wish
 */
export function durationFor(agreement, wish) {
  return Math.min(wish ?? DEFAULT_DURATION, agreement?.max_duration ?? DEFAULT_DURATION);
}

/**
 * Grounds of all agreements with the ids of their communes, those of most communes first.
 * @param {Iterable<Commune>} communes
 */
export function groundsOf(communes) {
  /** @type {Map<string, Labels & {id: string, communes: string[]}>} */
  const found = new Map();
  for (const commune of communes) {
    for (const { id, fr, en } of agreementsOf(commune).flatMap(({ grounds }) => grounds)) {
      const known = found.get(id) ?? { id, fr, en, communes: [] };
      if (!known.communes.includes(commune.commune)) known.communes.push(commune.commune);
      found.set(id, known);
    }
  }
  return [...found.values()].sort((one, other) => other.communes.length - one.communes.length);
}

/**
 * Whether the camera itself can be watched at this time.
 * @param {CameraAnswer|undefined} camera
 * @param {number} now ms, the centre's time
 */
export function isUsable(camera, now) {
  const { unusable } = camera ?? {};
  return !unusable || (Boolean(unusable.until) && Date.parse(unusable.until ?? "") <= now);
}

/**
 * Why a camera cannot be asked for: `null` where it can, or a text key with its parameters.
 * @param {{incident: Incident|undefined, commune: Commune|undefined, camera: Camera|undefined, now: number,
 *   online: string, groundsLabel: (id: string) => string, reason: (code: string) => string}} of
 * @returns {Required<Sentence>|null}
 */
export function obstacle({ incident, commune, camera, now, online, groundsLabel, reason }) {
  if (incident === undefined || incident.closedAt !== null) return { key: "desk.ask.no_incident", params: {} };
  if (online !== "online") return { key: "desk.ask.offline", params: {} };
  if (commune === undefined) return { key: "desk.ask.unknown_commune", params: {} };
  const params = { commune: commune.name ?? commune.commune, contact: commune.contact ?? "" };
  if (agreementsOf(commune).length === 0) return { key: "desk.ask.no_agreement", params };
  if (groundsFor(incident, commune) === null) {
    return { key: "desk.ask.grounds", params: { ...params, grounds: groundsLabel(incident.grounds) } };
  }
  if (!commune.online)
    return { key: commune.contact ? "desk.ask.commune_offline_contact" : "desk.ask.commune_offline", params };
  if (!isUsable(camera, now))
    return { key: "desk.ask.unusable", params: { reason: reason(camera?.unusable?.reason ?? "") } };
  return null;
}

/**
 * Grounds on which a camera may be asked for where only those of the intervention are in the way.
 * @param {Required<Sentence>|null} found its obstacle
 * @param {{commune: Commune|undefined, camera: Camera|undefined, now: number}} of
 * @returns {Grounds[]}
 */
export function groundsOffered(found, { commune, camera, now }) {
  if (found?.key !== "desk.ask.grounds" || !commune?.online || !isUsable(camera, now)) return [];
  const offered = groundsOf([commune]);
  // An exercise is never what a real intervention becomes.
  const real = offered.filter(({ id }) => id !== "drill");
  return real.length > 0 ? real : offered;
}

/**
 * A new intervention.
 * @param {{ref: string, grounds: string, present?: string[], at?: Position|null, place?: string|null,
 *   openedAt: number}} of
 * @returns {Incident}
 */
export function newIncident({ ref, grounds, present = [], at = null, place = null, openedAt }) {
  return {
    ref,
    grounds,
    allGrounds: [grounds],
    present,
    at,
    place,
    openedAt,
    closedAt: null,
    cameras: [],
    grants: new Set(),
    history: [],
    refusals: new Map(),
    duration: null,
    removed: new Set(),
    pinned: new Set(),
    asked: new Set(),
    mine: false,
    order: [],
  };
}

/**
 * Interventions that are open: those of this desk, and the others of the unit that have live grants.
 * @param {Map<string, Incident>} incidents
 * @param {Map<string, Grant>} grants
 */
export function openIncidents(incidents, grants) {
  const open = [...incidents.values()].filter(({ closedAt }) => closedAt === null);
  return {
    mine: open.filter(({ mine }) => mine),
    unit: open.filter((incident) => !incident.mine && liveGrants(incident, grants).length > 0),
  };
}

/**
 * Whether this person signed a grant.
 * @param {Pick<Grant, "operator">} grant
 * @param {Me|null} me
 */
export function isMine(grant, me) {
  return me !== null && grant.operator.number === me.number && grant.operator.unit === me.unit;
}

/**
 * Whether a person's designation has ended.
 * @param {Me|null} me
 * @param {number} now ms
 */
export function isOver(me, now) {
  return me !== null && me.notAfter <= now;
}

/**
 * All grants of an incident, also those that ended.
 * @param {Incident|undefined} incident
 * @param {Map<string, Grant>} grants
 */
export function grantsOf(incident, grants) {
  return [...(incident?.grants ?? [])].map((id) => grants.get(id)).filter((grant) => grant !== undefined);
}

/**
 * Live grants of an incident, the one that ends soonest first.
 * @param {Incident|undefined} incident
 * @param {Map<string, Grant>} grants
 */
export function liveGrants(incident, grants) {
  const live = grantsOf(incident, grants).filter((grant) => !grant.ended);
  return live.sort((one, other) => Date.parse(one.expires) - Date.parse(other.expires));
}

/**
 * The grant under which the signer watches a camera: the one that lasts longest.
 * @param {string} key
 * @param {Incident|undefined} incident
 * @param {Map<string, Grant>} grants
 * @param {Me|null} me
 */
export function grantOf(key, incident, grants, me) {
  const { commune, camera } = splitKey(key);
  /** @param {Grant} grant */
  const covers = (grant) =>
    grant.commune === commune && grant.granted.some((entry) => entry.camera === camera && entry.state !== "ended");
  return liveGrants(incident, grants)
    .filter((grant) => isMine(grant, me) && covers(grant))
    .at(-1);
}

/**
 * The changes between two views of a grant, as lines of history.
 * @param {Grant|undefined} before
 * @param {Grant} after
 * @param {(key: string) => string} name of a camera, by its key
 */
export function changes(before, after, name) {
  /** @type {Note[]} */
  const notes = [];
  const commune = after.commune;
  const cameras = after.granted.map(({ camera }) => name(`${commune}/${camera}`)).join(", ");
  if (before === undefined && !after.ended) {
    notes.push({
      level: "info",
      key: "desk.history.granted",
      params: { commune, cameras, n: after.granted.length },
    });
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
    const { reason, detail, by } = after.ended;
    const isOther = by && (by.number !== after.operator.number || by.unit !== after.operator.unit);
    notes.push({
      level: isExpected(reason) && !isOther ? "info" : "bad",
      key: isOther ? "desk.history.ended_by" : "desk.history.ended",
      params: { commune, cameras, reason, detail, by: by?.name ?? "" },
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

/**
 * Ends that somebody here wanted or knew of.
 * @param {string} reason
 */
function isExpected(reason) {
  return reason === "grant_released" || reason === "grant_expired";
}

/**
 * @param {GrantedCamera} old
 * @param {GrantedCamera} now
 * @returns {Note|null}
 */
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
