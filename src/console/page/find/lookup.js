// Looks up cameras and places: by name, near a position, beside a camera, in a shape.

import { direction, distance, isInside } from "/page/find/geometry.js";
import { shownIncident } from "/page/state/rules.js";

/** Nearest cameras of a place. */
const NEAREST = 12;
/** Places of a query. */
const PLACES = 5;

/**
 * @typedef {{kind: "all"} | {kind: "query", text: string} | {kind: "near", at: Position, label?: string|null}
 *   | {kind: "neighbours", of: string} | {kind: "shape", shape: Shape}} About the list's subject
 */
/** @typedef {Camera & {away?: number, towards?: number}} FoundCamera with metres and degrees from north */

/**
 * Takes cameras into the store.
 * @param {PageStore} store
 * @param {CameraAnswer[]} found
 * @returns {Camera[]}
 */
export function keepCameras(store, found) {
  const kept = found.map((camera) => ({ ...camera, key: `${camera.commune}/${camera.camera}` }));
  for (const camera of kept) store.get("cameras").set(camera.key, camera);
  store.touch("cameras");
  return kept;
}

/**
 * The cameras of a subject, in the order in which they are shown.
 * @param {Context} ctx
 * @param {About} about
 * @returns {Promise<FoundCamera[]>}
 */
export async function findCameras({ api, store }, about) {
  const all = [...store.get("cameras").values()];
  switch (about.kind) {
    case "query":
      return keepCameras(store, await api.get(`cameras?q=${encodeURIComponent(about.text)}&limit=1000`));
    case "near": {
      const found = keepCameras(store, await api.get(`cameras?near=${about.at.join(",")}&limit=${NEAREST}`));
      return found.map((camera) => away(camera, about.at));
    }
    case "neighbours": {
      const from = store.get("cameras").get(about.of)?.position;
      const found = keepCameras(store, await api.get(`cameras?neighbours=${about.of}`));
      const placed = from ? found.map((camera) => away(camera, from)) : found;
      // Those that are shown already come last: the camera one comes from is no next one.
      const shown = new Set(shownIncident(store)?.cameras ?? []);
      const rank = (/** @type {FoundCamera} */ { key }) => Number(shown.has(key));
      return placed.sort((one, other) => rank(one) - rank(other) || metres(one) - metres(other));
    }
    case "shape":
      return all.filter(({ position }) => position && isWithin(position, about.shape));
    default:
      return all.sort(
        (one, other) =>
          (one.commune_name ?? "").localeCompare(other.commune_name ?? "") ||
          one.name.localeCompare(other.name, undefined, { numeric: true }),
      );
  }
}

/**
 * The places of a query, where the receiver has any.
 * @param {Context} ctx
 * @param {About} about
 * @returns {Promise<Place[]>}
 */
export async function findPlaces({ api, store }, about) {
  if (about.kind !== "query" || !store.get("console")?.places) return [];
  try {
    return (await api.get(`places?q=${encodeURIComponent(about.text)}&limit=${PLACES}`)).places;
  } catch {
    // Cameras are found without it.
    return [];
  }
}

/**
 * @param {Position} position
 * @param {Shape} shape
 */
function isWithin(position, shape) {
  return "polygon" in shape ? isInside(position, shape.polygon) : distance(shape.circle, position) <= shape.radius;
}

/** @param {FoundCamera} camera */
function metres(camera) {
  return camera.away ?? Infinity;
}

/**
 * A camera with its distance and direction from a position.
 * @param {Camera} camera
 * @param {Position} from
 * @returns {FoundCamera}
 */
function away(camera, from) {
  if (!camera.position) return camera;
  return { ...camera, away: distance(from, camera.position), towards: direction(from, camera.position) };
}
