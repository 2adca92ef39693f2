// `GET events`: server-sent events by fetch, since the token must stay out of the address.

import { Problem, answerOf } from "/page/core/api.js";

/** Nothing at all for this long, in ms, is a dead connection: a comment comes every 15 s. */
const SILENCE = 40_000;
/** The stream is opened again this long before its token's end, in ms. */
const MARGIN = 45_000;
/** Shortest and longest wait before another try, in ms. */
const [FIRST_WAIT, LONGEST_WAIT] = [500, 2_500];
/** Longest event, in characters. */
const EVENT_LIMIT = 4 * 1024 * 1024;

/**
 * How long to wait before try `attempt` (from 0): doubling, capped, of which the upper half
 * is random, so that a whole room does not come back at once.
 * @param {number} attempt
 * @param {number} random 0 to 1
 */
export function backoff(attempt, random) {
  const full = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(attempt, 10));
  return Math.max(FIRST_WAIT, full / 2 + (full / 2) * random);
}

/** Takes text in pieces and gives whole events (the part of WHATWG HTML 9.2.6 that fanal uses). */
export class EventParser {
  #rest = "";

  /** @param {string} text */
  push(text) {
    this.#rest += text;
    if (this.#rest.length > EVENT_LIMIT) throw new Error("an event is too long");
    const blocks = this.#rest.split(/\r?\n\r?\n/);
    this.#rest = blocks.pop() ?? "";
    return blocks.map(readEvent).filter((event) => event !== null);
  }
}

/** @param {string} block */
function readEvent(block) {
  let name = "message";
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    const found = /^(event|data):\s?(.*)$/s.exec(line);
    if (found?.[1] === "event") name = found[2];
    if (found?.[1] === "data") data.push(found[2]);
  }
  return data.length === 0 ? null : { name, data: data.join("\n") };
}

/**
 * Keeps the stream open until stopped.
 *
 * `on.ready` is awaited after each opening: it loads everything again, so that no change in
 * between is missed. `on.state` is told `online`, or `offline` and why.
 */
export class Events {
  #api;
  #on;
  #clock;
  #stop = new AbortController();
  /** @type {(() => void)|null} */
  #wake = null;

  /**
   * @param {import("/page/core/api.js").Api} api
   * @param {() => number} clock
   * @param {{ready: () => Promise<void>, event: (name: string, body: any) => void,
   *   state: (state: "online"|"offline", problem?: Problem) => void}} on
   */
  constructor(api, clock, on) {
    this.#api = api;
    this.#clock = clock;
    this.#on = on;
  }

  /** Runs until `stop`. */
  async run() {
    let attempt = 0;
    const retry = () => this.#wake?.();
    addEventListener("online", retry, { signal: this.#stop.signal });
    while (!this.#stop.signal.aborted) {
      try {
        await this.#once(() => {
          attempt = 0;
        });
        continue;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        // The centre's clock was set: another token, by its time, and no word of it.
        const isOver = attempt === 0 && error instanceof Problem && error.reason === "token_expired";
        if (isOver && (await this.#signedAgain())) {
          attempt = 1;
          continue;
        }
        this.#on.state("offline", error instanceof Problem ? error : Problem.unreachable());
      }
      await this.#wait(backoff(attempt, Math.random()));
      attempt += 1;
    }
  }

  /** Whether there is another token. */
  async #signedAgain() {
    try {
      await this.#api.tokenAgain();
      return true;
    } catch {
      return false;
    }
  }

  /** Ends it. */
  stop() {
    this.#stop.abort();
    this.#wake?.();
  }

  /**
   * Opens the stream and reads it to its end; returns where that was expected, else throws.
   * @param {() => void} opened
   */
  async #once(opened) {
    const { token, expires } = await this.#api.tokenAndEnd();
    const cancel = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, cancel.signal]);
    let planned = false;
    let silence = setTimeout(() => cancel.abort(), SILENCE);
    const left = Math.max(1_000, expires - MARGIN - this.#clock());
    const renewal = setTimeout(() => {
      planned = true;
      cancel.abort();
    }, left);
    try {
      const headers = this.#api.headers({ accept: "text/event-stream", authorization: `Bearer ${token}` });
      const response = await fetch(this.#api.url("events"), {
        headers,
        signal,
        cache: "no-store",
        credentials: "omit",
      });
      if (!response.ok) await answerOf(response);
      if (response.body === null) throw Problem.unreachable();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new EventParser();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) throw Problem.unreachable();
        clearTimeout(silence);
        silence = setTimeout(() => cancel.abort(), SILENCE);
        for (const event of parser.push(value)) {
          if (await this.#take(event, opened)) return;
        }
      }
    } catch (error) {
      if (planned) return;
      throw error;
    } finally {
      clearTimeout(silence);
      clearTimeout(renewal);
      cancel.abort();
    }
  }

  /**
   * Whether the stream ended as it should.
   * @param {{name: string, data: string}} event
   * @param {() => void} opened
   */
  async #take({ name, data }, opened) {
    if (name === "ready" || name === "resync") {
      await this.#on.ready();
      this.#on.state("online");
      opened();
      return false;
    }
    const body = JSON.parse(data);
    if (name !== "end") this.#on.event(name, body);
    else if (body.reason === "shutting_down") throw Problem.unreachable();
    else if (body.reason !== "token_expired") throw new Problem({ status: 403, reason: body.reason });
    return name === "end";
  }

  /** @param {number} ms */
  #wait(ms) {
    /** @type {PromiseWithResolvers<void>} */
    const { promise, resolve } = Promise.withResolvers();
    const timer = setTimeout(resolve, ms);
    this.#wake = () => {
      clearTimeout(timer);
      resolve();
    };
    return promise;
  }
}
