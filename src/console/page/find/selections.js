// Sets of cameras with a name, kept on this workstation: text only.

const PLACE = "fanal-selections";
/** Most sets, most cameras in one, longest name. */
const [MOST, CAMERAS, NAME] = [50, 200, 60];

const KEY = /^[a-z0-9][a-z0-9-]{0,62}\/[a-z0-9][a-z0-9-]{0,62}$/;

/** What can be a list of sets, strictly; anything else is left out. */
export function readSelections(text) {
  let found;
  try {
    found = JSON.parse(text ?? "[]");
  } catch {
    return [];
  }
  if (!Array.isArray(found)) return [];
  const isOne = (one) =>
    typeof one?.name === "string" &&
    one.name.length > 0 &&
    one.name.length <= NAME &&
    Array.isArray(one.cameras) &&
    one.cameras.length > 0 &&
    one.cameras.length <= CAMERAS &&
    one.cameras.every((key) => typeof key === "string" && KEY.test(key));
  const sets = found.filter(isOne).map(({ name, cameras }) => ({ name, cameras: [...new Set(cameras)] }));
  // The same set twice is one, as after importing a file again.
  return [...new Map(sets.map((set) => [JSON.stringify(set), set])).values()].slice(0, MOST);
}

/** All that is kept here. */
export function loadSelections() {
  try {
    return readSelections(localStorage.getItem(PLACE));
  } catch {
    // A browser that keeps nothing.
    return [];
  }
}

/** Keeps these; gives what was kept. */
export function saveSelections(selections) {
  const kept = readSelections(JSON.stringify(selections));
  try {
    localStorage.setItem(PLACE, JSON.stringify(kept));
  } catch {
    // They hold for as long as the page is open.
  }
  return kept;
}
