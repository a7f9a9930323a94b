/** Who we are and how to ask: addresses, credentials, requests. */

import { call } from './emitter.js';
import { asChatError, ChatError } from './errors.js';
import { deadline, within } from './timing.js';

/**
 * @typedef {import('./types.js').Frame} Frame
 * @typedef {import('./types.js').Limits} Limits
 * @typedef {import('./types.js').Page} Page
 * @typedef {import('./types.js').Settings} Settings
 */

/** Longest wait that a server may ask for, in ms. */
export const LONGEST_RETRY = 300_000;

/** What something before chatd refuses a message for. Anything else that it says means that this
 * way is barred for now, as it does of whatever is not a message. */
const STATUS = /** @type {Record<number, string>} */ ({ 400: 'bad_request', 403: 'forbidden',
  413: 'too_large', 414: 'too_large', 415: 'bad_request', 422: 'bad_request', 431: 'too_large' });

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

/** @param {string} text @returns {any} what `text` says in JSON; null if it is none */
export function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Who we are and how to ask. */
export class Wire {
  #base;
  #options;
  /** @type {string | undefined} */
  #token;
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

  /** @param {string | URL} url @param {Settings} options */
  constructor(url, options) {
    const base = new URL(url, globalThis.location?.href);
    base.protocol = base.protocol.replace('ws', 'http');
    base.search = base.hash = '';
    if (!base.pathname.endsWith('/')) base.pathname += '/';
    this.#base = base;
    this.#options = options;
    this.debug = debugger_(options.debug);
    this.user = options.token ? undefined : (options.user ?? `guest-${hex(3)}`).normalize('NFC');
  }

  get name() {
    return this.#base.href;
  }

  /** Get a token if there is none or it is about to expire, or anyhow. @param {boolean} [anyhow] */
  async authenticate(anyhow = false) {
    if (!this.#options.token) return;
    if (!anyhow && this.#token && Date.now() < this.renewal) return;
    this.#renewing ??= this.#renew(this.#options.token).finally(() => {
      this.#renewing = null;
    });
    await this.#renewing;
  }

  /** @param {() => string | Promise<string>} ask */
  async #renew(ask) {
    const token = await within((async () => ask())(), { timeout: this.#options.answer });
    if (typeof token !== 'string') throw new TypeError('The function `token` gave no string.');
    const claims = parse(decode(token.split('.')[1] ?? ''));
    const now = Date.now();
    // A clock that is slow is corrected by the token's own age; one that is fast asks often.
    const life = claims?.exp * 1000 - Math.max(now, claims?.iat * 1000 || 0);
    this.renewal = claims?.exp ? now + Math.max(1000, life * 0.8) : Infinity;
    if (typeof claims?.sub === 'string') this.user = claims.sub.normalize('NFC');
    this.#token = token;
  }

  /** The current token's `auth` frame. @returns {Frame} */
  auth() {
    return { type: 'auth', token: this.#token };
  }

  /** @returns {string} the WebSocket's address; there a token has no other place than the URL */
  socket() {
    const url = this.#address('ws', this.#token ? { token: this.#token } : {});
    url.protocol = url.protocol.replace('http', 'ws');
    return url.href;
  }

  /** @param {string} path @param {Record<string, unknown>} query @param {boolean} [unnamed] */
  #address(path, query, unnamed = false) {
    const url = new URL(path, this.#base);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    if (!unnamed && !this.#options.token && this.user) url.searchParams.set('username', this.user);
    return url;
  }

  /**
   * Whether the server answers other pages, but not those of our origin: a page is not told why a
   * request of its own failed, so ask for what any page may read.
   *
   * @returns {Promise<ChatError | undefined>}
   */
  async barred() {
    const own = globalThis.location?.origin;
    if (!own || own === this.#base.origin) return undefined;
    try {
      const get = this.#options.fetch ?? globalThis.fetch;
      const signal = AbortSignal.timeout(this.#options.patience);
      await get(new URL('chatd.js', this.#base).href, { signal, credentials: 'omit' });
    } catch {
      return undefined;
    }
    return new ChatError('forbidden',
      `chatd at ${this.name} takes no pages of ${own}: start it with --origin ${own}`);
  }

  /**
   * @param {string} path
   * @param {Record<string, unknown>} query
   * @param {RequestInit & {signal: AbortSignal}} init
   * @param {boolean} [unnamed]
   * @returns {Promise<Response>} a success; anything else is thrown as ChatError
   */
  async open(path, query, init, unnamed) {
    const headers = new Headers(init.headers);
    if (this.#token) headers.set('Authorization', `Bearer ${this.#token}`);
    const get = this.#options.fetch ?? globalThis.fetch;
    const address = this.#address(path, query, unnamed).href;
    const response = await get(address, { ...init, headers, cache: 'no-store' });
    this.debug('request', { address, status: response.status });
    if (!response.ok) throw await refusal(response, init.method === 'POST');
    return response;
  }

  /**
   * @param {string} path
   * @param {{query?: Record<string, unknown>, body?: object, timeout?: number,
   *   signal?: AbortSignal, unnamed?: boolean}} [how]
   * @returns {Promise<any>}
   */
  async request(path, { query = {}, body, timeout = this.#options.answer, signal, unnamed } = {}) {
    const limit = deadline(timeout, signal);
    try {
      const headers = { 'Content-Type': 'application/json' };
      // What is sent goes before what waits for news, should the browser have to choose.
      const post = body && { method: 'POST', headers, body: JSON.stringify(body), priority: 'high' };
      const init = /** @type {RequestInit & {signal: AbortSignal}} */ ({ ...post, signal: limit.signal });
      const response = await this.open(path, query, init, unnamed);
      return await response.json();
    } catch (error) {
      throw asChatError(error);
    } finally {
      limit.clear();
    }
  }
}

/** @param {Settings['debug']} debug @returns {(what: string, detail: unknown) => void} */
function debugger_(debug) {
  if (typeof debug === 'function') return (what, detail) => call(debug, what, detail);
  return debug ? (what, detail) => console.debug('chatd', what, detail) : () => {};
}

/**
 * Stored messages, read without saying who reads where that will do: the server takes someone
 * who reads under a name for present, a while longer than the page may last.
 *
 * @param {Wire} wire @param {string} room
 * @param {{query: Record<string, unknown>, timeout?: number, signal?: AbortSignal}} how
 * @returns {Promise<Page>}
 */
export async function read(wire, room, how) {
  try {
    return await wire.request(`${path(room)}/messages`, { ...how, unnamed: true });
  } catch (error) {
    if (!['forbidden', 'unauthorized'].includes(asChatError(error).code)) throw error;
    return wire.request(`${path(room)}/messages`, how);
  }
}

/** @param {Response} response @param {boolean} posted a message
 * @returns {Promise<ChatError>} */
async function refusal(response, posted) {
  const said = parse(await response.text());
  const after = Number(response.headers.get('Retry-After') ?? NaN) * 1000;
  // Everyone is told the same number of seconds; a part of one more keeps them apart.
  const retry = after >= 0 ? Math.min(after, LONGEST_RETRY) + Math.random() * 1000 : undefined;
  if (typeof said?.code === 'string') return new ChatError(said.code, String(said.text), retry);
  const { status } = response;
  const code = status === 429 ? 'rate_limited' : (posted && STATUS[status]) || 'unavailable';
  return new ChatError(code, `HTTP ${status} ${response.statusText}`, retry);
}

/** @param {string} part base64url of UTF-8 @returns {string} */
function decode(part) {
  try {
    const bytes = atob(part.replace(/-/g, '+').replace(/_/g, '/'));
    return new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0)));
  } catch {
    return '';
  }
}

/** @param {string} room */
export function path(room) {
  return `rooms/${encodeURIComponent(room)}`;
}
