/** Which transports there are, best first, and which one to begin with. */

/**
 * @typedef {import('./types.js').Settings} Settings
 * @typedef {import('./types.js').Transport} Transport
 */

/** The transports of one chat; the one that worked is remembered where there is storage. */
export class Transports {
  /** @type {Transport[]} best first */
  all;
  /** Where in `all` to begin. */
  level;
  #storage;
  #key;

  /** @param {Settings} options @param {string} server its address */
  constructor(options, server) {
    this.all = options.transports ?? usable(options);
    this.#storage = options.storage;
    this.#key = `chatd:transport:${server}`;
    this.level = Math.max(0, this.all.indexOf(/** @type {Transport} */ (this.#remembered())));
  }

  /** The transport at `level` works. @param {number} level */
  works(level) {
    this.level = level;
    try {
      this.#storage?.setItem(this.#key, this.all[level]);
    } catch {
      // Then it is found out anew next time.
    }
  }

  #remembered() {
    try {
      return this.#storage?.getItem(this.#key);
    } catch {
      return null;
    }
  }
}

/** @param {Settings} options @returns {Transport[]} */
function usable(options) {
  const found = /** @type {Transport[]} */ (['poll']);
  if ('EventSource' in globalThis && globalThis.EventSource) found.unshift('sse');
  if (options.WebSocket ?? globalThis.WebSocket) found.unshift('websocket');
  return found;
}
