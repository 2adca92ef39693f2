// The signers (`Signer` in types.d.ts): a key in this browser, or the operator's own machine
// (`fanal console`).

import { Problem, answerOf, fetchOf } from "/page/core/api.js";
import { readDesignation } from "/page/sign/certificate.js";
import {
  DECISION_TYPE,
  REQUEST_TYPE,
  TOKEN_TYPE,
  decisionClaims,
  requestClaims,
  statement,
  tokenClaims,
  uuid7,
} from "/page/sign/statement.js";

/** WebCrypto's names for P-256 with SHA-256. */
export const P256 = { name: "ECDSA", namedCurve: "P-256" };
export const ES256 = { name: "ECDSA", hash: "SHA-256" };

/**
 * Signs with a key that the browser holds and does not give out.
 * @implements {Signer}
 */
export class KeySigner {
  #key;
  #chain;
  #now;
  #centre;

  /**
   * @param {{key: CryptoKey, chain: Bytes[], mode: "receiver"|"demo", now: () => number, centre: string}} of
   * @throws {RangeError} where the chain's first certificate is no designation
   */
  constructor({ key, chain, mode, now, centre }) {
    const { name, number, unit, notAfter } = readDesignation(chain[0]);
    /** @type {Me} */
    this.me = { name, number, unit, notAfter, mode };
    this.#key = key;
    this.#chain = chain;
    this.#now = now;
    this.#centre = centre;
  }

  async token() {
    const claims = tokenClaims(this.#id(), this.#now(), this.#centre);
    const token = await statement(TOKEN_TYPE, claims, this.#chain, (bytes) => this.#sign(bytes));
    return { token, expires: claims.exp * 1000 };
  }

  /** @param {RequestClaims} asked */
  request(asked) {
    const claims = requestClaims(this.#id(), this.#now(), this.#centre, asked);
    return statement(REQUEST_TYPE, claims, this.#chain, (bytes) => this.#sign(bytes));
  }

  /** @param {DecisionClaims} decided */
  decision(decided) {
    const claims = decisionClaims(this.#id(), this.#now(), this.#centre, decided);
    return statement(DECISION_TYPE, claims, this.#chain, (bytes) => this.#sign(bytes));
  }

  #id() {
    return uuid7(this.#now(), crypto.getRandomValues(new Uint8Array(10)));
  }

  /** @param {Bytes} bytes */
  async #sign(bytes) {
    return new Uint8Array(await crypto.subtle.sign(ES256, this.#key, bytes));
  }
}

/**
 * The demo's operator, whose key is in the address.
 * @param {NonNullable<Fragment["demo"]>} given
 * @param {() => number} now
 * @param {string} centre
 */
export async function demoSigner({ key, chain }, now, centre) {
  const imported = await crypto.subtle.importKey("pkcs8", key, P256, false, ["sign"]);
  return new KeySigner({ key: imported, chain, mode: "demo", now, centre });
}

/**
 * The operator's own machine signs, and prints each statement on its terminal.
 * @implements {Signer}
 */
export class LocalSigner {
  #secret;

  /**
   * @param {string} secret of the session
   * @param {Me} me
   */
  constructor(secret, me) {
    this.#secret = secret;
    this.me = me;
  }

  /**
   * Asks whom the machine signs for.
   * @param {string} secret of the session
   */
  static async open(secret) {
    const { name, number, unit, not_after: end } = await callLocal(secret, "GET", "operator");
    return new LocalSigner(secret, { name, number, unit, notAfter: Date.parse(end), mode: "local" });
  }

  async token() {
    const { token, expires } = await callLocal(this.#secret, "POST", "token");
    return { token, expires: typeof expires === "number" ? expires * 1000 : Date.parse(expires) };
  }

  /** @param {RequestClaims} asked */
  async request(asked) {
    return (await callLocal(this.#secret, "POST", "requests", asked)).request;
  }

  /** @param {DecisionClaims} decided */
  async decision(decided) {
    return (await callLocal(this.#secret, "POST", "decisions", decided)).statement;
  }
}

/**
 * @param {string} secret
 * @param {string} method
 * @param {string} path
 * @param {RequestClaims|DecisionClaims} [asked]
 */
async function callLocal(secret, method, path, asked) {
  const headers = { "x-fanal-session": secret, "content-type": "application/json" };
  const body = asked === undefined ? undefined : JSON.stringify(asked);
  try {
    return await answerOf(await fetchOf(`/local/v1/${path}`, { method, headers, body }));
  } catch (error) {
    throw error instanceof Problem && error.reason === "centre_unreachable" ? signerAway() : error;
  }
}

function signerAway() {
  return new Problem({
    status: 0,
    reason: "signer_unreachable",
    title: "fanal console no longer runs on this workstation; start it again and open the address it prints",
    title_fr: "fanal console ne tourne plus sur ce poste ; relancez-le et ouvrez l'adresse qu'il affiche",
  });
}
