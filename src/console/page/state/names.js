// Names of communes, cameras and grounds; the id while no name is known.

import { lang } from "/page/core/text.js";
import { splitKey } from "/page/state/rules.js";

/**
 * @param {PageStore} store
 * @param {string} id
 */
export function communeName(store, id) {
  return store.get("communes").get(id)?.name ?? id;
}

/**
 * @param {PageStore} store
 * @param {string} key
 */
export function cameraName(store, key) {
  return store.get("cameras").get(key)?.name ?? splitKey(key).camera;
}

/**
 * The labels of grounds in both languages.
 * @param {PageStore} store
 * @param {string} id
 * @returns {Labels}
 */
export function groundsLabels(store, id) {
  for (const { agreement } of store.get("communes").values()) {
    const found = agreement?.grounds.find((grounds) => grounds.id === id);
    if (found) return { fr: found.fr, en: found.en };
  }
  return { fr: id, en: id };
}

/**
 * The label of grounds in the page's language.
 * @param {PageStore} store
 * @param {string} id
 */
export function groundsLabel(store, id) {
  return groundsLabels(store, id)[lang()];
}
