// Bytes as text and back: base64, base64url (RFC 4648), hexadecimal, PEM (RFC 7468).

const encoder = new TextEncoder();

/**
 * Text as UTF-8.
 * @param {string} text
 */
export function utf8(text) {
  return encoder.encode(text);
}

/**
 * Standard base64, padded.
 * @param {Uint8Array} bytes
 */
export function base64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/**
 * base64url without padding, as RFC 7515 section 2 has it.
 * @param {Uint8Array} bytes
 */
export function base64url(bytes) {
  return base64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/**
 * Reads base64 or base64url, padded or not; throws where it is neither.
 * @param {string} text
 */
export function fromBase64(text) {
  const standard = text.replaceAll("-", "+").replaceAll("_", "/").replace(/[\s=]/g, "");
  return Uint8Array.from(atob(standard), (character) => character.charCodeAt(0));
}

/**
 * Lower-case hexadecimal.
 * @param {Uint8Array} bytes
 */
export function hex(bytes) {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * A PEM block with this label.
 * @param {string} label
 * @param {Uint8Array} der
 */
export function toPem(label, der) {
  const lines = base64(der).match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/**
 * The blocks with this label, in their order; an empty list where there are none.
 * @param {string} label
 * @param {string} text
 */
export function fromPem(label, text) {
  const block = new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]*)-----END ${label}-----`, "g");
  return [...text.matchAll(block)].map((found) => fromBase64(found[1]));
}
