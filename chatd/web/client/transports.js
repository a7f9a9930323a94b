/** Which transports there are, best first, and which one to begin with. */

import { attempt } from './errors.js';

/**
 * @typedef {import('./types.js').End} End
 * @typedef {import('./types.js').Settings} Settings
 * @typedef {import('./types.js').Transport} Transport
 */

/** Milliseconds after which a connection counts as having worked. */
const STABLE = 10_000;
/** So many times in a row a transport may be let through but not last. */
const FLAPS = 3;

/** The transports of one chat; the one that worked is remembered where there is storage. */
export class Transports {
  /** @type {Transport[]} best first */
  all;
  /** Where in `all` to begin. */
  level;
  #flaps = 0;
  #storage;
  #key;

  /** @param {Settings} options @param {string} server its address */
  constructor(options, server) {
    this.all = options.transports ?? usable(options);
    this.#storage = options.storage;
    this.#key = `chatd:transport:${server}`;
    // Storage may be full or forbidden; then it is found out anew each time.
    const known = attempt(() => this.#storage?.getItem(this.#key));
    this.level = Math.max(0, this.all.indexOf(/** @type {Transport} */ (known)));
  }

  /** The transport at `level` works. @param {number} level */
  works(level) {
    this.level = level;
    attempt(() => this.#storage?.setItem(this.#key, this.all[level]));
  }

  /** The one in use has ended after `lasted` ms; the next may last longer.
   * @param {number} lasted @param {End} end @returns {boolean} whether it had worked */
  ended(lasted, { isFatal, retry }) {
    // A message that ends the connection does not speak against the transport.
    const worked = lasted >= STABLE || Boolean(isFatal);
    if (worked) this.#flaps = 0;
    else if (retry === undefined) this.#flaps += 1;
    if (this.#flaps >= FLAPS && this.level + 1 < this.all.length) {
      this.#flaps = 0;
      this.level += 1;
    }
    return worked;
  }
}

/** @param {Settings} options @returns {Transport[]} */
function usable(options) {
  const found = /** @type {Transport[]} */ (['poll']);
  if (/** @type {any} */ (globalThis).EventSource) found.unshift('sse');
  if (options.WebSocket ?? globalThis.WebSocket) found.unshift('websocket');
  return found;
}
