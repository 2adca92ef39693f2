// Who signs: a key in this browser, or the operator's own machine (`fanal console`).
//
// Both have `me` (`{name, number, unit, notAfter, mode}`), `token()` (`{token, expires}`, in ms)
// and `request(asked)`, which gives the signed statement of what `requestClaims` takes.

import { Problem, answerOf, fetchOf } from "/page/core/api.js";
import { readDesignation } from "/page/sign/certificate.js";
import { REQUEST_TYPE, TOKEN_TYPE, requestClaims, statement, tokenClaims, uuid7 } from "/page/sign/statement.js";

/** WebCrypto's names for P-256 with SHA-256. */
export const P256 = { name: "ECDSA", namedCurve: "P-256" };
export const ES256 = { name: "ECDSA", hash: "SHA-256" };

/** Signs with a key that the browser holds and does not give out. */
export class KeySigner {
  #key;
  #chain;
  #now;
  #centre;

  /**
   * @param {{key: CryptoKey, chain: Uint8Array[], mode: "receiver"|"demo", now: () => number, centre: string}} of
   * @throws {RangeError} where the chain's first certificate is no designation
   */
  constructor({ key, chain, mode, now, centre }) {
    const { name, number, unit, notAfter } = readDesignation(chain[0]);
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

  request(asked) {
    const claims = requestClaims(this.#id(), this.#now(), this.#centre, asked);
    return statement(REQUEST_TYPE, claims, this.#chain, (bytes) => this.#sign(bytes));
  }

  #id() {
    return uuid7(this.#now(), crypto.getRandomValues(new Uint8Array(10)));
  }

  async #sign(bytes) {
    return new Uint8Array(await crypto.subtle.sign(ES256, this.#key, bytes));
  }
}

/** The demo's operator, whose key stands in the address. */
export async function demoSigner({ key, chain }, now, centre) {
  const imported = await crypto.subtle.importKey("pkcs8", key, P256, false, ["sign"]);
  return new KeySigner({ key: imported, chain, mode: "demo", now, centre });
}

/** The operator's own machine signs, and says on its terminal what. */
export class LocalSigner {
  #secret;

  constructor(secret, me) {
    this.#secret = secret;
    this.me = me;
  }

  /** Asks whom the machine signs for. */
  static async open(secret) {
    const signer = new LocalSigner(secret, null);
    const { name, number, unit, not_after: end } = await signer.#call("GET", "operator");
    signer.me = { name, number, unit, notAfter: Date.parse(end), mode: "local" };
    return signer;
  }

  async token() {
    const { token, expires } = await this.#call("POST", "token");
    return { token, expires: typeof expires === "number" ? expires * 1000 : Date.parse(expires) };
  }

  async request(asked) {
    return (await this.#call("POST", "requests", asked)).request;
  }

  async #call(method, path, body) {
    const headers = { "x-fanal-session": this.#secret, "content-type": "application/json" };
    const options = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
    try {
      return await answerOf(await fetchOf(`/local/v1/${path}`, options));
    } catch (error) {
      throw error.reason === "centre_unreachable" ? signerAway() : error;
    }
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
