// Puts texts on its content into a PNG. Pure.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

/**
 * CRC-32 as PNG has it (ISO 3309).
 * @param {Uint8Array} bytes
 */
export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/**
 * An `iTXt` chunk, uncompressed: keyword and text in UTF-8 (PNG 11.3.3.4).
 * @param {string} keyword
 * @param {string} text
 */
function textChunk(keyword, text) {
  const encoder = new TextEncoder();
  const data = [...encoder.encode(keyword), 0, 0, 0, 0, 0, ...encoder.encode(text)];
  const body = Uint8Array.from([...encoder.encode("iTXt"), ...data]);
  const chunk = new Uint8Array(body.length + 8);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, data.length);
  chunk.set(body, 4);
  view.setUint32(body.length + 4, crc32(body));
  return chunk;
}

/**
 * Puts texts into a PNG, behind its header.
 * @param {ArrayBuffer} png
 * @param {Record<string, string>} texts by keyword
 * @throws {TypeError} where it is no PNG
 */
export function withTexts(png, texts) {
  const bytes = new Uint8Array(png);
  const header = 8 + 25;
  if (bytes.length < header || new DataView(png).getUint32(0) !== 0x89504e47) throw new TypeError("no PNG");
  const chunks = Object.entries(texts).map(([keyword, text]) => textChunk(keyword, text));
  const length = chunks.reduce((sum, chunk) => sum + chunk.length, bytes.length);
  const out = new Uint8Array(length);
  out.set(bytes.subarray(0, header));
  let at = header;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  out.set(bytes.subarray(header), at);
  return out;
}

/**
 * SHA-256 of a PNG's image data, its IDAT chunks' contents in order, in hexadecimal: what both
 * journals hold of a still.
 * @param {ArrayBuffer} png
 */
export async function imageHash(png) {
  const view = new DataView(png);
  /** @type {ArrayBuffer[]} */
  const parts = [];
  for (let at = 8; at + 12 <= png.byteLength;) {
    const length = view.getUint32(at);
    // "IDAT"
    if (view.getUint32(at + 4) === 0x49444154) parts.push(png.slice(at + 8, at + 8 + length));
    at += length + 12;
  }
  const data = await new Blob(parts).arrayBuffer();
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * A file's name of parts: letters, digits, `-` and `_` only.
 * @param {string[]} parts
 * @param {string} ending
 */
export function fileName(parts, ending) {
  /** @param {string} part */
  const plain = (part) =>
    part
      .normalize("NFD")
      .replace(/\p{M}/gu, "")
      .replace(/[^A-Za-z0-9-]+/g, "-")
      .replace(/^-|-$/g, "");
  return `${parts.map(plain).join("_")}.${ending}`;
}
