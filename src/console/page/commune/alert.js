// A request that waits is heard, and seen in the title of the tab.

import { recall, remember } from "/page/core/storage.js";
import { t } from "/page/core/text.js";

const OFF = "fanal-commune-silent";
/** How often it is said again while something waits, in ms. */
const AGAIN = 20_000;
/** The two tones, in Hz, and how long each lasts, in s. */
const [TONES, LENGTH] = [[880, 660], 0.18];

export class Alert {
  /** @type {AudioContext|null} */
  #audio = null;
  #waiting = 0;
  #isOn = recall("local", OFF) === null;
  #saidAt = 0;

  constructor() {
    setInterval(() => this.#again(), 1_000);
  }

  get isOn() {
    return this.#isOn;
  }

  set isOn(value) {
    this.#isOn = value;
    remember("local", OFF, value ? null : "1");
    // The press that switches it on lets the browser make sounds.
    if (value) this.#sound();
  }

  /** @param {number} waiting how many requests wait */
  show(waiting) {
    const isNew = waiting > this.#waiting;
    this.#waiting = waiting;
    const title = t("commune.title");
    document.title = waiting > 0 ? `(${waiting}) ${t("commune.title_waiting", { n: waiting })}` : title;
    if (isNew) this.#sound();
  }

  #again() {
    if (this.#waiting > 0 && performance.now() - this.#saidAt > AGAIN) this.#sound();
  }

  #sound() {
    this.#saidAt = performance.now();
    if (!this.#isOn) return;
    this.#audio ??= new AudioContext();
    const audio = this.#audio;
    // Without a press on the page a browser stays silent; the title still says it.
    audio.resume().catch(() => {});
    TONES.forEach((frequency, index) => {
      const [tone, volume] = [audio.createOscillator(), audio.createGain()];
      tone.frequency.value = frequency;
      volume.gain.value = 0.15;
      tone.connect(volume).connect(audio.destination);
      const from = audio.currentTime + index * LENGTH;
      tone.start(from);
      tone.stop(from + LENGTH);
    });
  }
}
