/**
 * What outlives the page. Browsers may forbid storage, and it may be full; what cannot be kept
 * there is kept as long as the page lives.
 *
 * @module page/storage
 */

/** As far as anyone here uses it, what `Storage` is. */
class Store {
  /** @type {Storage | undefined} */
  #lasting;
  /** @type {Map<string, string>} */
  #passing = new Map();

  /** @param {'localStorage' | 'sessionStorage'} kind */
  constructor(kind) {
    try {
      this.#lasting = globalThis[kind];
    } catch {
      // It is forbidden.
    }
  }

  get #keys() {
    return [...new Set([...Object.keys(this.#lasting ?? {}), ...this.#passing.keys()])];
  }

  get length() {
    return this.#keys.length;
  }

  /** @param {number} index */
  key(index) {
    return this.#keys[index] ?? null;
  }

  /** @param {string} key */
  getItem(key) {
    return this.#passing.get(key) ?? this.#lasting?.getItem(key) ?? null;
  }

  /** @param {string} key @param {string} value */
  setItem(key, value) {
    this.#passing.set(key, value);
    if (!this.#lasting) return;
    try {
      this.#lasting.setItem(key, value);
      this.#passing.delete(key);
    } catch {
      // It is full.
    }
  }

  /** @param {string} key */
  removeItem(key) {
    this.#passing.delete(key);
    this.#lasting?.removeItem(key);
  }
}

/** For all windows of this browser, for good. */
export const lasting = new Store('localStorage');

/** For this window, over reloads. */
export const passing = new Store('sessionStorage');
