/** The links there are; what few pages need is loaded when one does: all that speaks HTTP. */

import { asChatError, ChatError } from '../errors.js';
import { deadline, since, sleep, within } from '../timing.js';
import { hex, parse } from '../wire.js';
import { SocketLink } from './socket.js';

/**
 * @typedef {import('../types.js').Settings} Settings
 * @typedef {import('../types.js').Transport} Transport
 * @typedef {import('../wire.js').Wire} Wire
 * @typedef {SocketLink | import('./http.js').HttpLink} Link
 * @typedef {ReturnType<typeof import('./http.js').overHttp>} Http
 */

/** What the code that is loaded later has in common with the rest. It is handed over rather than
 * imported there: bundlers would make a third file of it, and all pages would load two. */
const KIT = { asChatError, ChatError, deadline, hex, parse, since, sleep };

/** @typedef {typeof KIT} Kit */

/** Makes links. */
export class Loader {
  #wire;
  #options;
  /** @type {Promise<Http> | undefined} */
  #http;

  /** @param {Wire} wire @param {Settings} options */
  constructor(wire, options) {
    this.#wire = wire;
    this.#options = options;
  }

  /** @param {Transport} transport @returns {Promise<Link>} rejects as `http` does */
  async make(transport) {
    if (transport === 'websocket') return new SocketLink(this.#wire, this.#options);
    return (await this.http()).make(transport === 'sse');
  }

  /**
   * What speaks HTTP. Rejects with a ChatError if it cannot be loaded now, which another try may
   * mend.
   *
   * @returns {Promise<Http>}
   */
  http() {
    this.#http ??= this.#load();
    return within(this.#http, { signal: this.#wire.closed, timeout: this.#options.patience });
  }

  async #load() {
    try {
      // Firefox takes a module that it could not load for missing as long as the page lives; so it
      // is asked for only where chatd can be reached, though it may not be asked for its files.
      await this.#wire.probe('chatd.js').catch(() => this.#wire.probe());
      const { overHttp } = await import('./http.js');
      return overHttp(KIT, this.#wire, this.#options);
    } catch (error) {
      this.#http = undefined;
      throw asChatError(error);
    }
  }
}
