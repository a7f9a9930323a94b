/**
 * What outlives the page. Browsers may forbid storage, and it may be full; what cannot be kept
 * there is kept as long as the page lives.
 *
 * @module page/storage
 */

/** As far as anyone here uses it, what `Storage` is. */
class Store {
  #kind;
  /** @type {Map<string, string>} */
  #passing = new Map();

  /** @param {'localStorage' | 'sessionStorage'} kind */
  constructor(kind) {
    this.#kind = kind;
  }

  get #keys() {
    const lasting = this.#try((storage) => Object.keys(storage)) ?? [];
    return [...new Set([...lasting, ...this.#passing.keys()])];
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
    return this.#passing.get(key) ?? this.#try((storage) => storage.getItem(key)) ?? null;
  }

  /** @param {string} key @param {string} value */
  setItem(key, value) {
    this.#passing.set(key, value);
    this.#try((storage) => {
      storage.setItem(key, value);
      this.#passing.delete(key);
    });
  }

  /** @param {string} key */
  removeItem(key) {
    this.#passing.delete(key);
    this.#try((storage) => storage.removeItem(key));
  }

  /**
   * What `use` gives; undefined where that is forbidden or full, or its file is damaged.
   *
   * @template T @param {(storage: Storage) => T} use @returns {T | undefined}
   */
  #try(use) {
    try {
      return use(globalThis[this.#kind]);
    } catch {
      return undefined;
    }
  }
}

/** For all windows of this browser, for good. */
export const lasting = new Store('localStorage');

/** For this window, over reloads. */
export const passing = new Store('sessionStorage');
