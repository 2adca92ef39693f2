// Signed statements (interfaces.md 4): compact JWS, ES256, header members exactly alg, typ, x5c.

import { base64, base64url, hex, utf8 } from "/page/core/encoding.js";

export const REQUEST_TYPE = "fanal-request+jwt";
export const DECISION_TYPE = "fanal-decision+jwt";
export const TOKEN_TYPE = "fanal-token+jwt";

/** Life of a bearer token, in seconds: the longest there is. */
const TOKEN_SECONDS = 300;

/**
 * A statement over these claims.
 * @param {string} typ
 * @param {object} claims in their order
 * @param {Uint8Array[]} chain certificates (DER), leaf first
 * @param {(bytes: Bytes) => Promise<Uint8Array>} sign gives r and s, 32 bytes each
 */
export async function statement(typ, claims, chain, sign) {
  const header = { alg: "ES256", typ, x5c: chain.map(base64) };
  const parts = [header, claims].map((part) => base64url(utf8(JSON.stringify(part))));
  const signature = await sign(utf8(parts.join(".")));
  return [...parts, base64url(signature)].join(".");
}

/**
 * Claims of a bearer token.
 * @param {string} id
 * @param {number} nowMs
 * @param {string} centre
 */
export function tokenClaims(id, nowMs, centre) {
  const iat = Math.floor(nowMs / 1000);
  return { jti: id, iat, exp: iat + TOKEN_SECONDS, aud: centre };
}

/**
 * Claims of a request.
 * @param {string} id
 * @param {number} nowMs
 * @param {string} centre
 * @param {RequestClaims} asked
 */
export function requestClaims(id, nowMs, centre, asked) {
  const { aud, cameras, grounds, incident, duration, profile, present, renews } = asked;
  const claims = {
    jti: id,
    iat: Math.floor(nowMs / 1000),
    aud,
    centre,
    cameras,
    grounds,
    incident,
    duration,
    profile,
    present,
  };
  return renews === undefined ? claims : { ...claims, renews };
}

/**
 * Claims of what a person at the commune decides.
 * @param {string} id
 * @param {number} nowMs
 * @param {string} commune
 * @param {DecisionClaims} decided
 */
export function decisionClaims(id, nowMs, commune, decided) {
  return { jti: id, iat: Math.floor(nowMs / 1000), aud: commune, ...decided };
}

/**
 * A UUID of version 7 (RFC 9562 5.7).
 * @param {number} nowMs
 * @param {Uint8Array} random ten bytes
 */
export function uuid7(nowMs, random) {
  const bytes = new Uint8Array(16);
  let time = Math.floor(nowMs);
  for (let at = 5; at >= 0; at -= 1) {
    bytes[at] = time % 256;
    time = Math.floor(time / 256);
  }
  bytes.set(random.subarray(0, 10), 6);
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const text = hex(bytes);
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join("-");
}
