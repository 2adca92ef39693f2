// What this browser remembers for the page. A browser may refuse all of it, already when it is named.

/** @typedef {"session"|"local"} Area for the tab, or for good */

/** @param {Area} area */
function areaOf(area) {
  return area === "session" ? sessionStorage : localStorage;
}

/**
 * What is kept under a name; `null`: nothing, or the browser refuses.
 * @param {Area} area
 * @param {string} key
 */
export function recall(area, key) {
  try {
    return areaOf(area).getItem(key);
  } catch {
    return null;
  }
}

/**
 * Keeps a value, `null` none. Whether the browser did.
 * @param {Area} area
 * @param {string} key
 * @param {string|null} value
 */
export function remember(area, key, value) {
  try {
    if (value === null) areaOf(area).removeItem(key);
    else areaOf(area).setItem(key, value);
    return true;
  } catch {
    return false;
  }
}
