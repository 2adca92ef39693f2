// Files for the person: offered to the browser, which asks where to put them.

import { h } from "/page/core/dom.js";

/**
 * Offers a file to the browser.
 * @param {Blob} blob
 * @param {string} name
 */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
