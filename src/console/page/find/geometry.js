// Positions on the map and between each other. Pure.

/** Mean radius of the Earth in metres. */
const EARTH = 6_371_008.8;
/** Pixels of the whole world at zoom 0. */
const TILE = 256;

const rad = (/** @type {number} */ degrees) => (degrees * Math.PI) / 180;

/**
 * Web Mercator at a zoom (may be fractional): pixels from the north-west corner of the world.
 * @param {Position} position
 * @param {number} zoom
 * @returns {Point}
 */
export function project([latitude, longitude], zoom) {
  const scale = TILE * 2 ** zoom;
  const sine = Math.min(Math.max(Math.sin(rad(latitude)), -0.9999), 0.9999);
  return [(longitude / 360 + 0.5) * scale, (0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)) * scale];
}

/**
 * The inverse of `project`.
 * @param {Point} point
 * @param {number} zoom
 * @returns {Position}
 */
export function unproject([x, y], zoom) {
  const scale = TILE * 2 ** zoom;
  const latitude = (Math.atan(Math.sinh(Math.PI * (1 - (2 * y) / scale))) * 180) / Math.PI;
  return [latitude, (x / scale - 0.5) * 360];
}

/**
 * Metres of a pixel.
 * @param {number} latitude
 * @param {number} zoom
 */
export function metresPerPixel(latitude, zoom) {
  return (2 * Math.PI * EARTH * Math.cos(rad(latitude))) / (TILE * 2 ** zoom);
}

/**
 * Metres between two positions, along the great circle.
 * @param {Position} from
 * @param {Position} to
 */
export function distance(from, to) {
  const [dy, dx] = [rad(to[0] - from[0]), rad(to[1] - from[1])];
  const a = Math.sin(dy / 2) ** 2 + Math.cos(rad(from[0])) * Math.cos(rad(to[0])) * Math.sin(dx / 2) ** 2;
  return 2 * EARTH * Math.asin(Math.min(1, Math.sqrt(a)));
}

/**
 * Degrees from north in which `to` lies.
 * @param {Position} from
 * @param {Position} to
 */
export function direction(from, to) {
  const dx = rad(to[1] - from[1]);
  const y = Math.sin(dx) * Math.cos(rad(to[0]));
  const x =
    Math.cos(rad(from[0])) * Math.sin(rad(to[0])) - Math.sin(rad(from[0])) * Math.cos(rad(to[0])) * Math.cos(dx);
  return ((Math.atan2(y, x) * 180) / Math.PI + 360) % 360;
}

/**
 * Whether a position lies in a polygon (even-odd).
 * @param {Position} position
 * @param {Position[]} corners
 */
export function isInside([latitude, longitude], corners) {
  let inside = false;
  for (let at = 0, before = corners.length - 1; at < corners.length; before = at, at += 1) {
    const [[y1, x1], [y2, x2]] = [corners[at], corners[before]];
    if (y1 > latitude !== y2 > latitude && longitude < ((x2 - x1) * (latitude - y1)) / (y2 - y1) + x1) inside = !inside;
  }
  return inside;
}

/**
 * A zoom and a middle that show all positions in a window of this size.
 * @param {Position[]} positions
 * @param {number} width
 * @param {number} height
 * @param {number} [most] zoom
 * @returns {{middle: Position, zoom: number}}
 */
export function fit(positions, width, height, most = 17) {
  if (positions.length === 0) return { middle: [46.6, 2.5], zoom: 5 };
  const [latitudes, longitudes] = [positions.map(([one]) => one), positions.map(([, other]) => other)];
  const [north, south] = [Math.max(...latitudes), Math.min(...latitudes)];
  const [east, west] = [Math.max(...longitudes), Math.min(...longitudes)];
  const [[left, top], [right, bottom]] = [project([north, west], 0), project([south, east], 0)];
  const room = Math.min((width * 0.8) / Math.max(right - left, 1e-9), (height * 0.8) / Math.max(bottom - top, 1e-9));
  return { middle: [(north + south) / 2, (east + west) / 2], zoom: Math.min(Math.max(Math.log2(room), 3), most) };
}

/**
 * Points by squares of `size` pixels, each with the middle of its points.
 * @template {{x: number, y: number}} Item
 * @param {Item[]} points
 * @param {number} size
 */
export function cluster(points, size) {
  const squares = Map.groupBy(points, ({ x, y }) => `${Math.floor(x / size)},${Math.floor(y / size)}`);
  /**
   * @param {Item[]} items
   * @param {"x"|"y"} name
   */
  const mean = (items, name) => items.reduce((sum, item) => sum + item[name], 0) / items.length;
  return [...squares.values()].map((items) => ({ items, x: mean(items, "x"), y: mean(items, "y") }));
}

/**
 * A length of 1, 2 or 5 times a power of ten, at most `most`: for the scale.
 * @param {number} most
 */
export function roundLength(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [5, 2].map((n) => n * power).find((length) => length <= most) ?? power;
}
