// Names of communes, cameras and grounds; the id while no name is known.

import { lang } from "/page/core/text.js";
import { groundsOf, splitKey } from "/page/state/rules.js";

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
  const found = groundsOf(store.get("communes").values()).find((grounds) => grounds.id === id);
  return { fr: found?.fr ?? id, en: found?.en ?? id };
}

/**
 * The label of grounds in the page's language.
 * @param {PageStore} store
 * @param {string} id
 */
export function groundsLabel(store, id) {
  return groundsLabels(store, id)[lang()];
}
