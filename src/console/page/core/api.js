// The receiver's API: JSON or a `Problem`, signed by the person who is signed in.

/** How long an answer may take, in ms. A request waits for the commune's journal at most. */
const TIMEOUT = 30_000;
/** A token is replaced this long before its end, in ms. */
const TOKEN_MARGIN = 60_000;

/** A request in the form in which the receiver takes it. */
const JOSE = "application/jose";

/** A problem document (RFC 9457), or its replacement where no answer came. */
export class Problem extends Error {
  /** @param {ProblemDocument} document */
  constructor({ status, reason = "internal", title = "", title_fr = "", detail = "", cameras = [] }) {
    super(`${status} ${reason}`);
    this.name = "Problem";
    this.status = status;
    this.reason = reason;
    this.title = title;
    this.title_fr = title_fr;
    this.detail = detail;
    this.cameras = cameras;
  }

  /**
   * A `Problem`, also of an error in the page or of the signer.
   * @param {unknown} error
   */
  static of(error) {
    return error instanceof Problem ? error : new Problem({ status: 0, detail: messageOf(error) });
  }

  /** No answer came: the receiver or the network is away. */
  static unreachable() {
    return new Problem({
      status: 0,
      reason: "centre_unreachable",
      title: "the centre's receiver does not answer; check the network of this workstation",
      title_fr: "le récepteur du centre ne répond pas ; vérifiez le réseau de ce poste",
    });
  }
}

/**
 * The words of anything that was thrown.
 * @param {unknown} error
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Reads the answer of a fetch: JSON, `null` where it has none.
 * @param {Response} response
 * @returns {Promise<any>} of the type that its caller knows (types.d.ts)
 * @throws {Problem}
 */
export async function answerOf(response) {
  const text = await response.text();
  let body = null;
  try {
    body = text === "" ? null : JSON.parse(text);
  } catch {
    throw new Problem({ status: response.status, detail: `answer ${response.status} is no JSON` });
  }
  if (response.ok) return body;
  throw new Problem({ ...(typeof body === "object" ? body : {}), status: response.status });
}

/**
 * Fetches with a time limit, in ms.
 * @param {string} url
 * @param {RequestInit & {timeout?: number}} [options]
 * @throws {Problem} where no answer comes in time
 */
export async function fetchOf(url, { timeout = TIMEOUT, signal, ...options } = {}) {
  const limit = AbortSignal.timeout(timeout);
  const both = signal ? AbortSignal.any([signal, limit]) : limit;
  try {
    return await fetch(url, { cache: "no-store", credentials: "omit", redirect: "error", ...options, signal: both });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw Problem.unreachable();
  }
}

/** Calls under `/api/v1`, relative paths as in `api.get("communes")`. */
export class Api {
  /** @type {Signer|null} */
  #signer = null;
  #clock;
  /** @type {Token|null} */
  #token = null;
  /** @type {Promise<Token>|null} */
  #pending = null;
  /** The session's secret, where `fanal console` serves the page. @type {string|null} */
  session = null;

  #measure;

  /**
   * @param {() => number} clock the centre's time in ms
   * @param {() => Promise<void>} [measure] asks for that time
   */
  constructor(clock, measure = async () => {}) {
    this.#clock = clock;
    this.#measure = measure;
    this.base = location.origin;
  }

  /** Who signs; `null`: nobody. */
  get signer() {
    return this.#signer;
  }

  set signer(signer) {
    this.#signer = signer;
    this.#token = null;
    this.#pending = null;
  }

  /** @param {string} path */
  get(path) {
    return this.#call("GET", path);
  }

  /**
   * @param {string} path
   * @param {object} body
   */
  post(path, body) {
    return this.#call("POST", path, JSON.stringify(body), "application/json");
  }

  /**
   * @param {string} path
   * @param {object} body
   */
  put(path, body) {
    return this.#call("PUT", path, JSON.stringify(body), "application/json");
  }

  /**
   * Signs a request and sends it.
   * @param {RequestClaims} asked
   * @returns {Promise<Grant|Waiting>}
   */
  async request(asked) {
    return this.#call("POST", "requests", await this.#signedIn().request(asked), JOSE);
  }

  /**
   * Signs what a person at the commune decides, and sends it.
   * @param {"POST"|"DELETE"} method
   * @param {string} path
   * @param {DecisionClaims} decided
   */
  async decide(method, path, decided) {
    return this.#call(method, path, await this.#signedIn().decision(decided), JOSE);
  }

  /** @param {string} path */
  delete(path) {
    return this.#call("DELETE", path);
  }

  /**
   * The address of a path.
   * @param {string} path
   */
  url(path) {
    return `${this.base}/api/v1/${path.replace(/^\//, "")}`;
  }

  /**
   * The headers of a call.
   * @param {Record<string, string>} more
   */
  headers(more) {
    return this.session === null ? more : { ...more, "x-fanal-session": this.session };
  }

  /** The subprotocols of `live`: a page can give a WebSocket no header. */
  get protocols() {
    return this.session === null ? ["fanal.v1"] : ["fanal.v1", `fanal.session.${this.session}`];
  }

  /** A bearer token that is good for a minute at least. */
  async token() {
    return (await this.tokenAndEnd()).token;
  }

  /** The same with its end, ms of the centre's time. */
  async tokenAndEnd() {
    if (this.#token !== null && this.#token.expires - this.#clock() > TOKEN_MARGIN) return this.#token;
    const signer = this.#signedIn();
    this.#pending ??= signer.token().finally(() => {
      this.#pending = null;
    });
    const token = await this.#pending;
    if (signer === this.#signer) this.#token = token;
    return token;
  }

  #signedIn() {
    if (this.#signer === null) throw new Problem({ status: 401, reason: "token_invalid" });
    return this.#signer;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {string} [body]
   * @param {string} [type] of the body
   */
  async #call(method, path, body, type) {
    /** @type {Record<string, string>} */
    const headers = { accept: "application/json" };
    if (type !== undefined) headers["content-type"] = type;
    // Before anybody has signed in, only calls that need no token are made.
    if (this.#signer !== null) headers.authorization = `Bearer ${await this.token()}`;
    const send = async () => answerOf(await fetchOf(this.url(path), { method, headers: this.headers(headers), body }));
    try {
      return await send();
    } catch (error) {
      const isOver = error instanceof Problem && error.reason === "token_expired" && this.#signer !== null;
      if (!isOver) throw error;
      headers.authorization = `Bearer ${await this.tokenAgain()}`;
      return send();
    }
  }

  /** Another token, after the centre said that one is over before its time: its clock was set. */
  async tokenAgain() {
    this.#token = null;
    await this.#measure();
    return this.token();
  }
}
