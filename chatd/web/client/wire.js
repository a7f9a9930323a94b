/** Who we are and whom to ask: addresses and credentials. */

import { call } from './emitter.js';
import { attempt, ChatError, closed } from './errors.js';
import { deadline, within } from './timing.js';

/**
 * @typedef {import('./types.js').Limits} Limits
 * @typedef {import('./types.js').Settings} Settings
 */

/** A fresh id for a message. @returns {string} */
export function newId() {
  return hex(16);
}

/** @param {number} bytes */
export function hex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)),
    (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {{user: string, id: string}} message */
export function key(message) {
  return `${message.user}\n${message.id}`;
}

/** @param {string} text @returns {any} what `text` says in JSON; undefined if it is none */
export function parse(text) {
  return attempt(() => JSON.parse(text));
}

/** Who we are and whom to ask. */
export class Wire {
  #base;
  #options;
  /** @type {string | undefined} */
  token;
  /** @type {Promise<void> | null} */
  #renewing = null;
  /** When to ask for the next token, by this machine's clock. */
  renewal = Infinity;
  /** @type {string | undefined} */
  user;
  /** @type {Partial<Limits>} what the server has told of them */
  limits = {};
  /** @type {(what: string, detail: unknown) => void} */
  debug;
  #closed = new AbortController();

  /** @param {string | URL} url @param {Settings} options */
  constructor(url, options) {
    const base = new URL(url, globalThis.location?.href);
    base.protocol = base.protocol.replace('ws', 'http');
    base.search = base.hash = '';
    if (!base.pathname.endsWith('/')) base.pathname += '/';
    this.#base = base;
    this.#options = options;
    this.debug = debugger_(options.debug);
    this.user = options.token ? undefined : (options.user || `guest-${hex(3)}`).normalize();
  }

  get name() {
    return this.#base.href;
  }

  /** Fires when the chat is closed for good, with a ChatError. */
  get closed() {
    return this.#closed.signal;
  }

  close() {
    this.#closed.abort(closed());
  }

  /** Get a token if there is none or it is about to expire, or anyhow. @param {boolean} [anyhow] */
  async authenticate(anyhow = false) {
    if (!this.#options.token) return;
    if (!anyhow && this.token && Date.now() < this.renewal) return;
    this.#renewing ??= this.#renew(this.#options.token).finally(() => {
      this.#renewing = null;
    });
    await this.#renewing;
  }

  /** @param {() => string | Promise<string>} ask */
  async #renew(ask) {
    const token = await within((async () => ask())(),
      { signal: this.closed, timeout: this.#options.answer });
    if (typeof token !== 'string') throw new TypeError('A token is a string.');
    const claims = attempt(() => JSON.parse(decode(token.split('.')[1])));
    const now = Date.now();
    const [exp, iat] = [claims?.exp * 1000, claims?.iat * 1000 || 0];
    // A clock that is slow is corrected by the token's own age. By one that is fast a token may seem
    // to have expired; should it really have, the server refuses it, and another is asked for.
    const life = exp - (exp > now ? Math.max(now, iat) : iat || now);
    this.renewal = claims?.exp ? now + Math.max(1000, life * 0.8) : Infinity;
    if (typeof claims?.sub === 'string') this.user = claims.sub.normalize();
    this.token = token;
  }

  /** @returns {string} the WebSocket's address; there a token has no other place than the URL */
  socket() {
    return this.address('ws', { token: this.token }).href.replace('http', 'ws');
  }

  /**
   * @param {string} path @param {Record<string, unknown>} [query]
   * @param {boolean} [unnamed] do not say who we are
   */
  address(path, query = {}, unnamed = false) {
    const url = new URL(path, this.#base);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    if (!unnamed && !this.#options.token && this.user) url.searchParams.set('username', this.user);
    return url;
  }

  /** @param {URL} address @param {RequestInit} init @returns {Promise<Response>} */
  fetch(address, init) {
    const get = this.#options.fetch ?? globalThis.fetch;
    return get(address.href, init);
  }

  /** Rejects unless chatd answers, whatever that is: in its place, a proxy or a network that one must
   * sign in to says something in HTML. @param {string} path else what chatd alone answers, and a page
   * of an origin that it refuses is not told: of a room that cannot be */
  async probe(path = 'rooms/~') {
    const { signal, clear } = deadline(this.#options.patience, this.closed);
    const { headers } = await this.fetch(new URL(path, this.#base),
      { signal, cache: 'no-store' }).finally(clear);
    if (/script|json/.test(`${headers.get('Content-Type')}`)) return;
    throw new ChatError('unavailable', 'This is not chatd.');
  }

  /**
   * Whether the server answers other pages, but not those of our origin: a page is not told why a
   * request of its own failed, so ask for what any page may read, should we get nothing else.
   *
   * @returns {Promise<ChatError | undefined>}
   */
  async barred() {
    // Not that of its address: a sandboxed frame or a local file has none, "null", whatever that is.
    const own = globalThis.origin;
    if (!own || own === this.#base.origin) return undefined;
    const whose = own === 'null' ? 'without an origin: sandboxed, or local files'
      : `of ${own}: start it with --origin ${own}`;
    return this.probe().then(() => undefined, async () => {
      await this.probe('chatd.js');
      return new ChatError('forbidden', `chatd at ${this.name} takes no pages ${whose}`);
    }).catch(() => undefined);
  }
}

/** @param {Settings['debug']} debug @returns {(what: string, detail: unknown) => void} */
function debugger_(debug) {
  if (typeof debug === 'function') return (what, detail) => call(debug, what, detail);
  return debug ? (what, detail) => console.debug('chatd', what, detail) : () => {};
}

/** @param {string} part base64url of UTF-8 @returns {string} */
function decode(part) {
  const bytes = atob(part.replace(/-/g, '+').replace(/_/g, '/'));
  return new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0)));
}
