// Short sounds for what must be heard in a dark room, each different, with a volume; 0 is off.

import { recall, remember } from "/page/core/storage.js";

const VOLUME = "fanal-volume";
/** Loudest gain: a room of people who telephone. */
const LOUDEST = 0.4;

/** @typedef {"lost"|"refused"|"approved"|"soon"|"ended"} Sound */

/** Tones one after another: hertz (0 is a pause) and ms. @type {Record<Sound, [hertz: number, ms: number][]>} */
const TONES = {
  lost: [
    [660, 90],
    [440, 180],
  ],
  refused: [[220, 260]],
  approved: [
    [523, 90],
    [784, 160],
  ],
  soon: [
    [880, 70],
    [0, 70],
    [880, 70],
  ],
  ended: [
    [440, 90],
    [0, 40],
    [330, 90],
    [0, 40],
    [220, 220],
  ],
};

/** All sounds, to try them. */
export const SOUNDS = /** @type {Sound[]} */ (Object.keys(TONES));

/** Plays them. */
export class Sounds {
  #volume = Math.min(1, Math.max(0, Number(recall("local", VOLUME) ?? "0.5") || 0));
  /** @type {AudioContext|null} */
  #audio = null;

  /** 0 (off) to 1. */
  get volume() {
    return this.#volume;
  }

  set volume(value) {
    this.#volume = value;
    remember("local", VOLUME, String(value));
  }

  /** @param {Sound} sound */
  play(sound) {
    document.documentElement.dataset.sound = sound;
    if (this.#volume === 0 || globalThis.AudioContext === undefined) return;
    this.#audio ??= new AudioContext();
    const audio = this.#audio;
    // A browser lets a page be heard once somebody has touched it.
    audio.resume().catch(() => {});
    let at = audio.currentTime;
    for (const [hertz, ms] of TONES[sound]) {
      const end = at + ms / 1000;
      if (hertz > 0) this.#tone(audio, hertz, at, end);
      at = end;
    }
  }

  /**
   * @param {AudioContext} audio
   * @param {number} hertz
   * @param {number} from seconds
   * @param {number} to seconds
   */
  #tone(audio, hertz, from, to) {
    const [tone, gain] = [new OscillatorNode(audio, { frequency: hertz, type: "triangle" }), new GainNode(audio)];
    // Without a click at either end.
    gain.gain.setValueAtTime(0, from);
    gain.gain.linearRampToValueAtTime(this.#volume * LOUDEST, from + 0.01);
    gain.gain.setValueAtTime(this.#volume * LOUDEST, to - 0.02);
    gain.gain.linearRampToValueAtTime(0, to);
    tone.connect(gain).connect(audio.destination);
    tone.start(from);
    tone.stop(to);
  }
}
