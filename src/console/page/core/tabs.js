// Two tabs of one page: what another program opens (an intervention, the address of a `fanal console` that
// was started again) is for the tab that is signed in.

const CHANNEL = "fanal-tabs";
/** How long another tab may take to answer, in ms. */
const PATIENCE = 600;

/** @typedef {"incident"|"session"} Kind */

/**
 * Offers something to the other tabs. Whether one took it.
 * @param {Kind} kind
 * @param {object} what
 * @returns {Promise<boolean>}
 */
export function offer(kind, what) {
  const id = Math.random().toString(36).slice(2);
  const channel = new BroadcastChannel(CHANNEL);
  return new Promise((resolve) => {
    let chosen = "";
    const end = (/** @type {boolean} */ taken) => {
      clearTimeout(timer);
      channel.close();
      resolve(taken);
    };
    let timer = setTimeout(() => end(false), PATIENCE);
    channel.onmessage = ({ data }) => {
      if (data?.id !== id) return;
      if (data.type === "taken") end(true);
      if (data.type !== "can" || chosen !== "") return;
      chosen = data.tab;
      clearTimeout(timer);
      timer = setTimeout(() => end(false), PATIENCE);
      channel.postMessage({ type: "give", id, tab: chosen, kind, what });
    };
    channel.postMessage({ type: "ask", id, kind });
  });
}

/**
 * Takes what other tabs offer, from now on.
 * @param {{can: (kind: Kind) => boolean, take: (kind: Kind, what: any) => void}} on
 */
export function takeOffers({ can, take }) {
  const tab = Math.random().toString(36).slice(2);
  const channel = new BroadcastChannel(CHANNEL);
  channel.onmessage = ({ data }) => {
    const { type, id, kind, what } = data ?? {};
    if (type === "ask" && can(kind)) channel.postMessage({ type: "can", id, tab });
    if (type !== "give" || data.tab !== tab) return;
    channel.postMessage({ type: "taken", id });
    take(kind, what);
  };
}
