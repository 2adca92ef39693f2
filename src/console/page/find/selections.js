// Sets of cameras with a name, kept on this workstation: text only.

const PLACE = "fanal-selections";
/** Most sets, most cameras in one, longest name. */
const [MOST, CAMERAS, NAME] = [50, 200, 60];

const KEY = /^[a-z0-9][a-z0-9-]{0,62}\/[a-z0-9][a-z0-9-]{0,62}$/;

/**
 * Reads a list of sets strictly; anything else is left out.
 * @param {string|null|undefined} text JSON
 * @returns {CameraSet[]}
 */
export function readSelections(text) {
  /** @type {any} */
  let found;
  try {
    found = JSON.parse(text ?? "[]");
  } catch {
    return [];
  }
  if (!Array.isArray(found)) return [];
  const isOne = (/** @type {any} */ one) =>
    typeof one?.name === "string" &&
    one.name.length > 0 &&
    one.name.length <= NAME &&
    Array.isArray(one.cameras) &&
    one.cameras.length > 0 &&
    one.cameras.length <= CAMERAS &&
    one.cameras.every((/** @type {unknown} */ key) => typeof key === "string" && KEY.test(key));
  /** @type {CameraSet[]} */
  const sets = found
    .filter(isOne)
    .map((/** @type {CameraSet} */ { name, cameras }) => ({ name, cameras: [...new Set(cameras)] }));
  // The same set twice is one, as after importing a file again.
  return [...new Map(sets.map((set) => [JSON.stringify(set), set])).values()].slice(0, MOST);
}

/** All that is kept here. */
export function loadSelections() {
  try {
    return readSelections(localStorage.getItem(PLACE));
  } catch {
    // This browser keeps nothing.
    return [];
  }
}

/**
 * Keeps these; gives those that were kept.
 * @param {CameraSet[]} selections
 */
export function saveSelections(selections) {
  const kept = readSelections(JSON.stringify(selections));
  try {
    localStorage.setItem(PLACE, JSON.stringify(kept));
  } catch {
    // They last as long as the page is open.
  }
  return kept;
}
