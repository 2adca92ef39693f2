// What comes over `GET live`, taken apart. Pure.

/** Bytes before a picture: tag u32, flags u8, pts i64, captured i64, big-endian. */
const HEADER = 21;
/** Largest picture that is taken, in bytes (a unit's own bound). */
const UNIT_LIMIT = 8 * 1024 * 1024;

/**
 * Reads a binary message; `null` where it can be none.
 * @param {ArrayBuffer} buffer
 * @returns {{tag: number, key: boolean, lossBefore: boolean, kept: boolean, timestamp: number,
 *   captured: number, data: Uint8Array}|null} `timestamp` in µs, `captured` in ms UTC by the
 *   gateway's clock
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

/** Reads a text message; `null` where it is none, or is out of bounds. */
export function readMessage(text) {
  if (text.length > TEXT_LIMIT) return null;
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof message !== "object" || message === null) return null;
  const isTagged = Number.isInteger(message.tag) && typeof message.camera === "string";
  const isSide = (side) => Number.isInteger(side) && side >= 0 && side <= SIDE_LIMIT;
  const isWhole = {
    ready: () => true,
    subscribed: () => isTagged,
    skipped: () => isTagged,
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
  return Object.hasOwn(isWhole, message.type) && isWhole[message.type]() ? message : null;
}

/** Bytes of standard base64. */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** A configuration message as `VideoDecoder` takes it. */
export function decoderConfig({ codec, description, width, height }) {
  const config = { codec, optimizeForLatency: true };
  if (description !== "") config.description = bytesOf(description);
  if (width > 0 && height > 0) Object.assign(config, { codedWidth: width, codedHeight: height });
  return config;
}

/** Name of a codec as people say it. */
export function codecName(codec) {
  if (codec.startsWith("avc")) return "H.264";
  if (codec.startsWith("hvc") || codec.startsWith("hev")) return "H.265";
  return codec === "jpeg" ? "MJPEG" : codec;
}

/**
 * The part of a picture that a zoomed tile shows.
 * @param {{zoom: number, x: number, y: number}} view `x`, `y`: its middle, 0 to 1
 * @returns {[number, number, number, number]} left, top, width, height in the picture's pixels
 */
export function crop({ zoom, x, y }, width, height) {
  const [w, h] = [width / zoom, height / zoom];
  const left = Math.min(Math.max(x * width - w / 2, 0), width - w);
  const top = Math.min(Math.max(y * height - h / 2, 0), height - h);
  return [left, top, w, h];
}

/** The view after a zoom by `factor` at a point (0 to 1 of the tile), which stays where it is. */
export function zoomed(view, factor, px = 0.5, py = 0.5) {
  const zoom = Math.min(Math.max(view.zoom * factor, 1), 8);
  // The picture's point under the pointer.
  const at = (middle, p) => middle + (p - 0.5) / view.zoom;
  const middle = (point, p) => point - (p - 0.5) / zoom;
  return panned({ zoom, x: middle(at(view.x, px), px), y: middle(at(view.y, py), py) }, 0, 0);
}

/** The view moved by parts of the tile, inside the picture. */
export function panned({ zoom, x, y }, dx, dy) {
  const half = 0.5 / zoom;
  const inside = (value) => Math.min(Math.max(value, half), 1 - half);
  return { zoom, x: inside(x + dx / zoom), y: inside(y + dy / zoom) };
}
