// Which tiles a mosaic of many cameras shows. Pure.

/** Tiles at once; the others are on further pages. */
export const TILES_LIMIT = 16;
/** Pinned tiles that are on each page, so that pages differ. */
const PINNED_LIMIT = 8;

/**
 * The tiles of a page: those that are pinned, then those whose turn it is.
 * @param {string[]} keys
 * @param {Set<string>} pinned
 * @param {number} page from 0; a page that is no more is the last
 * @returns {{keys: string[], page: number, pages: number}}
 */
export function pageOf(keys, pinned, page) {
  const first = keys.length > TILES_LIMIT ? keys.filter((key) => pinned.has(key)).slice(0, PINNED_LIMIT) : [];
  const rest = keys.filter((key) => !first.includes(key));
  const size = TILES_LIMIT - first.length;
  const pages = Math.max(1, Math.ceil(rest.length / size));
  const shown = Math.min(Math.max(page, 0), pages - 1);
  return { keys: [...first, ...rest.slice(shown * size, (shown + 1) * size)], page: shown, pages };
}

/**
 * The page on which a tile is.
 * @param {string[]} keys
 * @param {Set<string>} pinned
 * @param {string} key
 */
export function pageWith(keys, pinned, key) {
  const { pages } = pageOf(keys, pinned, 0);
  for (let page = 0; page < pages; page += 1) if (pageOf(keys, pinned, page).keys.includes(key)) return page;
  return 0;
}

/**
 * The same keys, with one of them where another is.
 * @param {string[]} keys
 * @param {string} key
 * @param {string} to
 */
export function moved(keys, key, to) {
  const at = keys.indexOf(to);
  if (key === to || at < 0 || !keys.includes(key)) return keys;
  const rest = keys.filter((other) => other !== key);
  rest.splice(at, 0, key);
  return rest;
}
