// The data that the parts of the page share, by name; those that show it are told of changes.

/**
 * Values are replaced, not changed in place, except for maps and sets, whose changes are
 * told by `touch`. Listeners run once per animation frame at most, however much changes:
 * a hidden page costs nothing.
 */
export class Store {
  #values;
  /** @type {Map<keyof PageState, Set<() => void>>} */
  #listeners = new Map();
  /** @type {Set<keyof PageState>} */
  #changed = new Set();
  #scheduled = false;

  /** @param {PageState} values those at the start */
  constructor(values) {
    this.#values = values;
  }

  /**
   * @template {keyof PageState} Key
   * @param {Key} key
   */
  get(key) {
    return this.#values[key];
  }

  /**
   * Sets a value and tells its listeners, if it is another one.
   * @template {keyof PageState} Key
   * @param {Key} key
   * @param {PageState[Key]} value
   */
  set(key, value) {
    if (Object.is(this.#values[key], value)) return;
    this.#values[key] = value;
    this.touch(key);
  }

  /**
   * Tells that something inside the value changed.
   * @param {keyof PageState} key
   */
  touch(key) {
    this.#changed.add(key);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // A hidden page has no animation frames; it must still hear of ends.
    if (document.hidden) setTimeout(() => this.#tell(), 50);
    else requestAnimationFrame(() => this.#tell());
  }

  /**
   * Calls `listener` at once and after changes of any of these keys.
   * @param {(keyof PageState)[]} keys
   * @param {() => void} listener
   * @returns {() => void} stops it
   */
  watch(keys, listener) {
    for (const key of keys) {
      const listeners = this.#listeners.get(key) ?? new Set();
      this.#listeners.set(key, listeners.add(listener));
    }
    listener();
    return () => keys.forEach((key) => this.#listeners.get(key)?.delete(listener));
  }

  #tell() {
    this.#scheduled = false;
    const changed = [...this.#changed];
    this.#changed.clear();
    /** @type {Set<() => void>} */
    const due = new Set();
    for (const key of changed) for (const listener of this.#listeners.get(key) ?? []) due.add(listener);
    for (const listener of due) listener();
  }
}
