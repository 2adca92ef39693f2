// How evenly a camera's pictures come. Pure but for what it remembers.

/** Pictures are counted over this time, in ms. */
const WINDOW = 3_000;
/** What was said of a picture stays this long after its last cause, in ms: nothing blinks. */
const HOLD = 5_000;
/** Steps between pictures that are none: shorter or longer than these, in microseconds. */
const STEPS = [8_000, 2_000_000];
/** With fewer pictures in a second than this part of the camera's, it stutters. */
const STUTTERS = 0.6;
/** Of a camera whose pictures come by this part, the line keeps none. */
const COMES = 0.8;

/** The pictures in a second that a camera gives, by their own times. */
export class Pace {
  /** @type {number|null} */
  #newest = null;
  /** @type {number|null} */
  #step = null;

  /** @param {number} timestamp microseconds */
  take(timestamp) {
    const step = timestamp - (this.#newest ?? timestamp);
    if (this.#newest === null || step > 0 || step < -STEPS[1]) this.#newest = timestamp;
    if (step < STEPS[0] || step > STEPS[1]) return;
    // What was left out on the way makes steps longer, never shorter.
    if (this.#step === null || step < this.#step) this.#step = step;
    else this.#step += (step - this.#step) * 0.02;
  }

  get rate() {
    return this.#step === null ? null : 1e6 / this.#step;
  }
}

/** One tile's pictures of the last seconds. */
export class Flow {
  /** @type {{at: number, received: number, frames: number, skipped: number}[]} */
  #samples = [];
  /** @type {number|null} */
  #lateAt = null;
  /** @type {{at: number, stutter: Stutter}|null} */
  #stuttered = null;

  /**
   * @param {StreamFigures} figures
   * @param {number} at ms
   */
  take({ received, frames, skipped }, at) {
    const last = this.#samples.at(-1);
    if (last && (frames < last.frames || received < last.received)) this.#samples = [];
    this.#samples.push({ at, received, frames, skipped });
    while (this.#samples.length > 2 && this.#samples[1].at <= at - WINDOW) this.#samples.shift();
  }

  /**
   * Whether the picture is said to be late: also some seconds after it was.
   * @param {boolean} isLate
   * @param {number} at
   */
  late(isLate, at) {
    if (isLate) this.#lateAt = at;
    return this.#lateAt !== null && at - this.#lateAt < HOLD;
  }

  /**
   * Whether far fewer pictures are shown than the camera gives, and what keeps them.
   * @param {number|null} rate of the camera
   * @param {number} at
   * @returns {Stutter|null}
   */
  stutter(rate, at) {
    const [first, last] = [this.#samples.at(0), this.#samples.at(-1)];
    const time = first && last ? last.at - first.at : 0;
    if (first && last && rate !== null && time >= WINDOW * 0.8) {
      const per = (/** @type {number} */ count) => (count * 1_000) / time;
      const fps = per(last.frames - first.frames);
      const isPage = last.skipped > first.skipped || per(last.received - first.received) >= rate * COMES;
      if (fps < rate * STUTTERS) this.#stuttered = { at, stutter: { fps, by: isPage ? "page" : "line" } };
    }
    const known = this.#stuttered;
    return known !== null && at - known.at < HOLD ? known.stutter : null;
  }

  /** The pictures are over: what comes next is judged by itself. */
  forget() {
    this.#samples = [];
    this.#lateAt = null;
    this.#stuttered = null;
  }
}
