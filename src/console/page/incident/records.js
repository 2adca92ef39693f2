// What of the interventions outlives a reload of the page, in this tab alone: text. No
// picture, no key, no credential.

const KEY = "fanal-interventions";
/** Interventions kept, the newest; lines of history of each. */
const [INCIDENTS, LINES] = [20, 300];

/** How long changes wait to be written, in ms: a mosaic that starts makes many. */
const DELAY = 500;

/** Keeps them from now on. */
export function keep(store) {
  let timer = null;
  const write = () => {
    clearTimeout(timer);
    timer = null;
    save(store.get("incidents"), store.get("approvals"));
  };
  store.watch(["incidents", "approvals"], () => {
    timer ??= setTimeout(write, DELAY);
  });
  addEventListener("pagehide", write);
}

function save(incidents, approvals) {
  const kept = [...incidents.values()].slice(-INCIDENTS).map((incident) => {
    const { ref, grounds, present, at, openedAt, closedAt, history, bookmarks, duration, mine } = incident;
    return {
      ref,
      grounds,
      present,
      at,
      openedAt,
      closedAt,
      duration,
      mine,
      bookmarks: bookmarks.slice(-LINES),
      history: history.slice(-LINES),
    };
  });
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ incidents: kept, approvals: [...approvals.values()] }));
  } catch {
    // The store is full or forbidden: a reload then shows what the receiver knows.
  }
}

/** What was kept: `{incidents: object[], approvals: object[]}`. */
export function load() {
  try {
    const { incidents = [], approvals = [] } = JSON.parse(sessionStorage.getItem(KEY) ?? "{}");
    return { incidents, approvals };
  } catch {
    return { incidents: [], approvals: [] };
  }
}

/** Adds a line to an intervention's history, the oldest go. */
export function addLine(incident, line) {
  incident.history.push(line);
  if (incident.history.length > LINES) incident.history.splice(0, incident.history.length - LINES);
}
