// Reads the messages of `GET live`. Pure.

/** Bytes before a picture: tag u32, flags u8, pts i64, captured i64, big-endian. */
const HEADER = 21;
/** Largest picture that is taken, in bytes (a unit's own bound). */
const UNIT_LIMIT = 8 * 1024 * 1024;

/**
 * Reads a binary message; `null` where it can be none.
 * @param {ArrayBuffer} buffer
 * @returns {Unit|null}
 */
export function readUnit(buffer) {
  if (buffer.byteLength <= HEADER || buffer.byteLength > HEADER + UNIT_LIMIT) return null;
  const view = new DataView(buffer);
  const flags = view.getUint8(4);
  return {
    tag: view.getUint32(0),
    key: (flags & 1) !== 0,
    lossBefore: (flags & 4) !== 0,
    kept: (flags & 8) !== 0,
    // 90 kHz to µs.
    timestamp: Math.round((Number(view.getBigInt64(5)) * 100) / 9),
    captured: Number(view.getBigInt64(13)) / 1000,
    data: new Uint8Array(buffer, HEADER),
  };
}

/** Longest message, in characters: a configuration with its description. */
const TEXT_LIMIT = 256 * 1024;
/** Widest and highest picture, in pixels. */
const SIDE_LIMIT = 16_384;
const CODE = /^[a-z0-9_]{1,64}$/;

/**
 * Reads a text message; `null` where it is none, or is out of bounds.
 * @param {string} text
 * @returns {LiveMessage|null}
 */
export function readMessage(text) {
  if (text.length > TEXT_LIMIT) return null;
  /** @type {any} */
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof message !== "object" || message === null) return null;
  const isTagged = Number.isInteger(message.tag) && typeof message.camera === "string";
  const isSide = (/** @type {number} */ side) => Number.isInteger(side) && side >= 0 && side <= SIDE_LIMIT;
  /** @type {Record<LiveMessage["type"], () => boolean>} */
  const isWhole = {
    ready: () => message.codecs === undefined || Array.isArray(message.codecs),
    subscribed: () => isTagged,
    skipped: () => isTagged,
    undecodable: () =>
      isTagged &&
      typeof message.codec === "string" &&
      message.codec.length <= 64 &&
      (message.reason === null || CODE.test(message.reason)),
    configuration: () =>
      isTagged &&
      typeof message.codec === "string" &&
      message.codec.length <= 64 &&
      typeof message.description === "string" &&
      isSide(message.width) &&
      isSide(message.height),
    state: () => isTagged && CODE.test(message.state),
    end: () => isTagged && CODE.test(message.reason),
    error: () => CODE.test(message.reason),
  };
  const type = /** @type {LiveMessage["type"]} */ (message.type);
  return Object.hasOwn(isWhole, type) && isWhole[type]() ? message : null;
}

/**
 * Bytes of standard base64.
 * @param {string} base64
 */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/**
 * A configuration message as `VideoDecoder` takes it.
 * @param {LiveConfiguration} message
 */
export function decoderConfig({ codec, description, width, height }) {
  /** @type {VideoDecoderConfig} */
  const config = { codec, optimizeForLatency: true };
  if (description !== "") config.description = bytesOf(description);
  if (width > 0 && height > 0) Object.assign(config, { codedWidth: width, codedHeight: height });
  return config;
}

/**
 * The receiver's name of a codec.
 * @param {string} codec
 */
export function codecFamily(codec) {
  if (codec.startsWith("avc")) return "h264";
  return codec.startsWith("hvc") || codec.startsWith("hev") ? "h265" : codec;
}

/**
 * Usual name of a codec.
 * @param {string} codec
 */
export function codecName(codec) {
  if (codec.startsWith("avc")) return "H.264";
  if (codec.startsWith("hvc") || codec.startsWith("hev")) return "H.265";
  return codec === "jpeg" ? "MJPEG" : codec;
}

/**
 * The part of a picture that a zoomed tile shows.
 * @param {View} view
 * @param {number} width
 * @param {number} height
 * @returns {[number, number, number, number]} left, top, width, height in the picture's pixels
 */
export function crop({ zoom, x, y }, width, height) {
  const [w, h] = [width / zoom, height / zoom];
  const left = Math.min(Math.max(x * width - w / 2, 0), width - w);
  const top = Math.min(Math.max(y * height - h / 2, 0), height - h);
  return [left, top, w, h];
}

/**
 * The view after a zoom by `factor` at a point (0 to 1 of the tile), which stays where it is.
 * @param {View} view
 * @param {number} factor
 * @param {number} [px]
 * @param {number} [py]
 */
export function zoomed(view, factor, px = 0.5, py = 0.5) {
  const zoom = Math.min(Math.max(view.zoom * factor, 1), 8);
  // The picture's point under the pointer.
  const at = (/** @type {number} */ middle, /** @type {number} */ p) => middle + (p - 0.5) / view.zoom;
  const middle = (/** @type {number} */ point, /** @type {number} */ p) => point - (p - 0.5) / zoom;
  return panned({ zoom, x: middle(at(view.x, px), px), y: middle(at(view.y, py), py) }, 0, 0);
}

/**
 * The view moved by parts of the tile, inside the picture.
 * @param {View} view
 * @param {number} dx
 * @param {number} dy
 */
export function panned({ zoom, x, y }, dx, dy) {
  const half = 0.5 / zoom;
  const inside = (/** @type {number} */ value) => Math.min(Math.max(value, half), 1 - half);
  return { zoom, x: inside(x + dx / zoom), y: inside(y + dy / zoom) };
}
