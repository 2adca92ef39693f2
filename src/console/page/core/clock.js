// The centre's time, independent of the workstation's own clock.

/** How often it is measured again, in milliseconds. */
const INTERVAL = 60_000;
/** How long a measurement counts: crystals drift by some 50 ms in this time. */
const SAMPLE_LIFE = 15 * 60_000;
/** Measurements at the start; the one with the shortest round trip wins. */
const FIRST_SAMPLES = 3;
/** The machine's two clocks differ by this much more, in ms: it slept, or somebody set one. */
const JUMP = 2_000;

/**
 * Follows the centre's clock by `GET time`: the answer is taken as the time in the middle
 * of its round trip, so the error is at most half of it; the shortest round trip counts.
 * Between measurements `performance.now()` counts, which nobody can set.
 */
export class Clock {
  #ask;
  /** @type {{at: number, roundTrip: number, ahead: number}[]} */
  #samples = [];
  /** @type {number|null} */
  #timer = null;
  #monotonic;
  #wall;
  #apart;

  /**
   * @param {() => Promise<number>} ask gives the centre's time, ms since the epoch
   * @param {{monotonic?: () => number, wall?: () => number}} [sources] of time, for tests
   */
  constructor(ask, { monotonic = () => performance.now(), wall = () => Date.now() } = {}) {
    this.#ask = ask;
    this.#monotonic = monotonic;
    this.#wall = wall;
    this.#apart = wall() - monotonic();
  }

  /** The centre's time, ms since the epoch; the workstation's before it is known. */
  now() {
    const best = this.#best();
    return best === null ? this.#wall() : this.#monotonic() + best.ahead;
  }

  /** Whether the centre's time is known. */
  get known() {
    return this.#samples.length > 0;
  }

  /** How far the workstation's clock is ahead of the centre's, in ms. */
  get workstationAhead() {
    return this.known ? this.#wall() - this.now() : 0;
  }

  /** Measures once; throws as `ask` does. */
  async measure() {
    const sent = this.#monotonic();
    const centre = await this.#ask();
    const received = this.#monotonic();
    const oldest = received - SAMPLE_LIFE;
    const sample = { at: received, roundTrip: received - sent, ahead: centre - (sent + received) / 2 };
    const best = this.#best();
    // Somebody set the centre's clock: what was measured before is of another time.
    const wasSet = best !== null && Math.abs(sample.ahead - best.ahead) > JUMP + sample.roundTrip + best.roundTrip;
    this.#samples = wasSet ? [] : this.#samples.filter((known) => known.at >= oldest);
    this.#samples.push(sample);
  }

  /** Measures, and again each minute and after the machine slept. */
  async start() {
    for (let count = 0; count < FIRST_SAMPLES; count += 1) await this.measure().catch(() => {});
    this.#timer ??= setInterval(() => this.tick(), INTERVAL);
    document.addEventListener("visibilitychange", () => document.hidden || this.tick());
  }

  /** Measures now; forgets what it knew if the machine slept since. */
  async tick() {
    const apart = this.#wall() - this.#monotonic();
    const jumped = Math.abs(apart - this.#apart) > JUMP;
    this.#apart = apart;
    const before = this.#samples;
    if (jumped) this.#samples = [];
    await this.measure().catch(() => {
      // A wrong time is worse than an inexact one, none is worse than both.
      if (!this.known) this.#samples = before;
    });
  }

  #best() {
    /** @type {{roundTrip: number, ahead: number}|null} */
    let best = null;
    for (const sample of this.#samples) if (best === null || sample.roundTrip < best.roundTrip) best = sample;
    return best;
  }
}
