// A certificate request (PKCS #10, RFC 2986) for a designation.

import { NAME, NUMBER, UNIT } from "/page/sign/certificate.js";
import { Tag, write, writeOid } from "/page/sign/der.js";
import { utf8 } from "/page/core/encoding.js";

const ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
/** X.520 wants a serial number as PrintableString; of these characters alone. */
const PRINTABLE = /^[A-Za-z0-9 '()+,./:=?-]*$/;

/**
 * Makes the request, signed by the key itself.
 * @param {Operator} person
 * @param {Uint8Array} keyInfo SubjectPublicKeyInfo (DER) of a P-256 key
 * @param {(bytes: Bytes) => Promise<Uint8Array>} sign gives r and s, 32 bytes each
 * @returns {Promise<Bytes>} DER
 */
export async function makeRequest(person, keyInfo, sign) {
  const subject = write(Tag.SEQUENCE, part(UNIT, person.unit), part(NAME, person.name), part(NUMBER, person.number));
  const version = write(Tag.INTEGER, Uint8Array.of(0));
  // attributes [0]: an empty set.
  const info = write(Tag.SEQUENCE, version, subject, keyInfo, write(0xa0));
  const algorithm = write(Tag.SEQUENCE, writeOid(ECDSA_WITH_SHA256));
  const signature = derSignature(await sign(info));
  return write(Tag.SEQUENCE, info, algorithm, write(Tag.BIT_STRING, Uint8Array.of(0), signature));
}

/**
 * ECDSA-Sig-Value (RFC 3279 2.2.3) of r and s as WebCrypto gives them.
 * @param {Uint8Array} raw
 */
export function derSignature(raw) {
  const half = raw.length / 2;
  return write(Tag.SEQUENCE, integer(raw.subarray(0, half)), integer(raw.subarray(half)));
}

/**
 * The shortest form of an unsigned number.
 * @param {Uint8Array} bytes
 */
function integer(bytes) {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1;
  const digits = bytes.subarray(start);
  return digits[0] & 0x80 ? write(Tag.INTEGER, Uint8Array.of(0), digits) : write(Tag.INTEGER, digits);
}

/**
 * @param {string} oid
 * @param {string} text
 */
function part(oid, text) {
  const tag = oid === NUMBER && PRINTABLE.test(text) ? Tag.PRINTABLE_STRING : Tag.UTF8_STRING;
  return write(Tag.SET, write(Tag.SEQUENCE, writeOid(oid), write(tag, utf8(text))));
}
