// The holder that a designation (interfaces.md 3) names. The receiver and the commune check
// whether it is genuine; here it is only shown.

import { Tag, oidText, read, stringText, timeValue } from "/page/sign/der.js";
import { fromBase64, fromPem, hex } from "/page/core/encoding.js";

/** Most certificates in a chain (interfaces.md 4). */
const CHAIN_LIMIT = 4;

/** Object identifiers of the subject's parts. */
export const NAME = "2.5.4.3";
export const NUMBER = "2.5.4.5";
export const UNIT = "2.5.4.11";

/**
 * Reads a certificate (DER).
 * @param {Bytes} der
 * @returns {{name: string, number: string, unit: string, notBefore: number, notAfter: number,
 *   keyInfo: Bytes}} times in ms; `keyInfo` = SubjectPublicKeyInfo (DER)
 * @throws {RangeError} where it is no certificate, or its subject lacks a part but the unit, or has one twice
 */
export function readDesignation(der) {
  const [tbs] = read(der).as(Tag.SEQUENCE).children();
  const fields = tbs.as(Tag.SEQUENCE).children();
  // version [0] is there in v3; then serial, signature, issuer, validity, subject, key.
  const at = fields[0].tag === 0xa0 ? 1 : 0;
  const [, , , validity, subject, keyInfo] = fields.slice(at);
  if (keyInfo === undefined) throw new RangeError("a certificate lacks a field");
  const [notBefore, notAfter] = validity.as(Tag.SEQUENCE).children().map(timeValue);
  const parts = subjectParts(subject);
  return {
    name: single(parts, NAME),
    number: single(parts, NUMBER),
    // An agent of the commune may have none.
    unit: parts.some(([oid]) => oid === UNIT) ? single(parts, UNIT) : "",
    notBefore,
    notAfter,
    keyInfo: keyInfo.as(Tag.SEQUENCE).whole,
  };
}

/**
 * The certificates of a designation as it is handed over: PEM with one or more, or one as DER.
 * @param {string|Bytes} given
 * @returns {Bytes[]} leaf first
 */
export function readChain(given) {
  const text = typeof given === "string" ? given : new TextDecoder("latin1").decode(given);
  const chain = fromPem("CERTIFICATE", text);
  if (chain.length === 0 && typeof given !== "string" && given[0] === Tag.SEQUENCE) chain.push(given);
  if (chain.length === 0 && /^[A-Za-z0-9+/=\s]+$/.test(text.trim())) chain.push(fromBase64(text));
  if (chain.length === 0 || chain.length > CHAIN_LIMIT) throw new RangeError("one to four certificates are expected");
  return chain;
}

/**
 * SHA-256 of a SubjectPublicKeyInfo, in lower-case hexadecimal: how a key is called.
 * @param {Bytes} keyInfo
 */
export async function thumbprint(keyInfo) {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", keyInfo)));
}

/**
 * @param {import("/page/sign/der.js").Element} subject
 * @returns {[string, import("/page/sign/der.js").Element][]}
 */
function subjectParts(subject) {
  return subject
    .as(Tag.SEQUENCE)
    .children()
    .flatMap((set) => set.as(Tag.SET).children())
    .map((part) => {
      const [oid, value] = part.as(Tag.SEQUENCE).children();
      return [oidText(oid.as(Tag.OBJECT_IDENTIFIER).content), value];
    });
}

/**
 * @param {ReturnType<typeof subjectParts>} parts
 * @param {string} wanted
 */
function single(parts, wanted) {
  const found = parts.filter(([oid]) => oid === wanted);
  if (found.length !== 1) throw new RangeError(`${found.length} of ${wanted} in the subject`);
  return stringText(found[0][1]);
}
