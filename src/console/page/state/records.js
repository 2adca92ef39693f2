// The part of the interventions that outlives a reload of the page, in this tab alone: text. No
// picture, no key, no credential. Bookmarks, notes and what the journal says of an intervention are in its
// record at the centre (incident/keeper.js).

const KEY = "fanal-interventions";
/** Interventions kept, the newest; lines of history of each. */
const [INCIDENTS, LINES] = [20, 300];

/** How long changes wait to be written, in ms: a mosaic that starts makes many. */
const DELAY = 500;

/**
 * Keeps them from now on.
 * @param {PageStore} store
 */
export function keep(store) {
  /** @type {number|null} */
  let timer = null;
  const write = () => {
    clearTimeout(timer ?? undefined);
    timer = null;
    save(store.get("incidents"), store.get("approvals"));
  };
  store.watch(["incidents", "approvals"], () => {
    timer ??= setTimeout(write, DELAY);
  });
  addEventListener("pagehide", write);
}

/**
 * @param {Map<string, Incident>} incidents
 * @param {Map<string, Approval>} approvals
 */
function save(incidents, approvals) {
  const kept = [...incidents.values()].slice(-INCIDENTS).map((incident) => {
    const { ref, grounds, allGrounds, present, at, place, openedAt, closedAt, history, duration, mine } = incident;
    return {
      ref,
      grounds,
      allGrounds,
      present,
      at,
      place,
      openedAt,
      closedAt,
      duration,
      mine,
      history: history.slice(-LINES),
    };
  });
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ incidents: kept, approvals: [...approvals.values()] }));
  } catch {
    // The store is full or forbidden: a reload then shows only the receiver's data.
  }
}

/**
 * Reads them again.
 * @returns {{incidents: KeptIncident[], approvals: Approval[]}}
 */
export function load() {
  try {
    const { incidents = [], approvals = [] } = JSON.parse(sessionStorage.getItem(KEY) ?? "{}");
    return { incidents, approvals };
  } catch {
    return { incidents: [], approvals: [] };
  }
}

/**
 * Adds a line to an intervention's history; the oldest go.
 * @param {Context} ctx
 * @param {string} ref
 * @param {Note} line
 */
export function note({ store, clock }, ref, { level, key, params, at = clock.now() }) {
  const incident = store.get("incidents").get(ref);
  if (incident === undefined) return;
  // What began before this page did has its place before what was noted since.
  const later = incident.history.findIndex((line) => line.at > at);
  incident.history.splice(later < 0 ? incident.history.length : later, 0, { at, level, key, params });
  if (incident.history.length > LINES) incident.history.splice(0, incident.history.length - LINES);
  store.touch("incidents");
}
