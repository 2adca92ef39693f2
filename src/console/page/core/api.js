// The receiver's API: JSON or a `Problem`, signed by whoever is signed in.

/** How long an answer may take, in ms. A request waits for the commune's journal at most. */
const TIMEOUT = 30_000;
/** A token is signed anew this long before its end, in ms. */
const TOKEN_MARGIN = 60_000;

/** A problem document (RFC 9457), or what stands for one where no answer came. */
export class Problem extends Error {
  /** @param {{status: number, reason?: string, title?: string, title_fr?: string, detail?: string, cameras?: object[]}} document */
  constructor({ status, reason = "internal", title = "", title_fr = "", detail = "", cameras = [] }) {
    super(`${status} ${reason}`);
    this.name = "Problem";
    Object.assign(this, { status, reason, title, title_fr, detail, cameras });
  }

  /** A `Problem`, also of what broke in the page or with the signer. */
  static of(error) {
    return error instanceof Problem ? error : new Problem({ status: 0, detail: String(error?.message ?? error) });
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

/** Reads the answer of a fetch: JSON, `null` where it has none, or throws a `Problem`. */
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

/** Fetches with a time limit; a missing answer is a `Problem` too. */
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
  #signer = null;
  #clock;
  #token = null;
  #pending = null;

  /** @param {() => number} clock the centre's time in ms */
  constructor(clock) {
    this.#clock = clock;
    this.base = location.origin;
  }

  /** Who signs from now on; `null`: nobody. */
  set signer(signer) {
    this.#signer = signer;
    this.#token = null;
    this.#pending = null;
  }

  get(path) {
    return this.#call("GET", path);
  }

  /** @param {string} [type] of a body that is text; objects go as JSON */
  post(path, body, type) {
    const text = type === undefined ? JSON.stringify(body) : body;
    return this.#call("POST", path, text, type ?? "application/json");
  }

  delete(path) {
    return this.#call("DELETE", path);
  }

  /** The address of a path. */
  url(path) {
    return `${this.base}/api/v1/${path.replace(/^\//, "")}`;
  }

  /** A bearer token that is good for a minute at least. */
  async token() {
    return (await this.tokenAndEnd()).token;
  }

  /** The same with its end, ms of the centre's time. */
  async tokenAndEnd() {
    if (this.#token !== null && this.#token.expires - this.#clock() > TOKEN_MARGIN) return this.#token;
    if (this.#signer === null) throw new Problem({ status: 401, reason: "token_invalid" });
    const signer = this.#signer;
    this.#pending ??= signer.token().finally(() => {
      this.#pending = null;
    });
    const token = await this.#pending;
    if (signer === this.#signer) this.#token = token;
    return token;
  }

  async #call(method, path, body, type) {
    const headers = { accept: "application/json" };
    if (type !== undefined) headers["content-type"] = type;
    // These need none, and come before anybody has signed in.
    if (this.#signer !== null) headers.authorization = `Bearer ${await this.token()}`;
    return answerOf(await fetchOf(this.url(path), { method, headers, body }));
  }
}
