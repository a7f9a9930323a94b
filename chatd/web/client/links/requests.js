/** Requests over HTTP, and what is said to them. */

/**
 * @typedef {import('../errors.js').ChatError} ChatError
 * @typedef {import('../types.js').Page} Page
 * @typedef {import('../types.js').Settings} Settings
 * @typedef {import('../wire.js').Wire} Wire
 * @typedef {import('./loader.js').Kit} Kit
 *
 * @typedef {object} How
 * @property {Record<string, unknown>} [query]
 * @property {boolean} [unnamed] do not say who we are
 * @property {object} [body] to be posted as JSON
 * @property {number} [timeout] ms
 * @property {AbortSignal} [signal]
 */

/** Longest wait that a server may ask for, in ms. */
const LONGEST_RETRY = 300_000;

/** What something before chatd refuses a message for. Anything else that it says means that this
 * way is barred for now, as it does of whatever is not a message. */
const STATUS = /** @type {Record<number, string>} */ ({ 400: 'bad_request', 403: 'forbidden',
  413: 'too_large', 414: 'too_large', 415: 'bad_request', 422: 'bad_request', 431: 'too_large' });

/** The requests of one chat. */
export class Requests {
  #kit;
  #wire;
  #options;

  /** @param {Kit} kit @param {Wire} wire @param {Settings} options */
  constructor(kit, wire, options) {
    this.#kit = kit;
    this.#wire = wire;
    this.#options = options;
  }

  /**
   * @param {URL} address
   * @param {RequestInit & {signal: AbortSignal}} init
   * @returns {Promise<Response>} a success; anything else is thrown as ChatError
   */
  async open(address, init) {
    const { debug, token } = this.#wire;
    const headers = new Headers(init.headers);
    if (token) headers.set('Authorization', `Bearer ${token}`);
    const response = await this.#wire.fetch(address, { ...init, headers, cache: 'no-store' });
    debug('request', { address: address.href, status: response.status });
    if (!response.ok) throw await this.#refusal(response, init.method === 'POST');
    return response;
  }

  /**
   * @param {string} path @param {How} [how]
   * @returns {Promise<any>} what is said; failures of any kind are thrown as ChatError
   */
  async request(path, { query, body, timeout = this.#options.answer, signal, unnamed } = {}) {
    const limit = this.#kit.deadline(timeout, signal, this.#wire.closed);
    try {
      const headers = { 'Content-Type': 'application/json' };
      // What is sent goes before what waits for news, should the browser have to choose.
      const post = body && /** @type {RequestInit} */ (
        { method: 'POST', headers, body: JSON.stringify(body), priority: 'high' });
      const address = this.#wire.address(path, query, unnamed);
      const response = await this.open(address, { ...post, signal: limit.signal });
      return await response.json();
    } catch (error) {
      throw this.#kit.asChatError(error);
    } finally {
      limit.clear();
    }
  }

  /**
   * Stored messages, read without saying who reads where that will do: the server takes someone
   * who reads under a name for present, a while longer than the page may last.
   *
   * @param {string} room @param {How} how
   * @returns {Promise<Page>}
   */
  async read(room, how) {
    try {
      return await this.messages(room, { ...how, unnamed: true });
    } catch (error) {
      const { code } = /** @type {ChatError} */ (error);
      if (!['forbidden', 'unauthorized'].includes(code)) throw error;
      return this.messages(room, how);
    }
  }

  /** Stored messages, or one to be stored. @param {string} room @param {How} how */
  messages(room, how) {
    return this.request(`${path(room)}/messages`, how);
  }

  /** How a room is, and who is there. @param {string} room @param {How} how */
  here(room, how) {
    return this.request(path(room), how);
  }

  /** The room's event stream. @param {string} room @param {string} after @param {AbortSignal} signal */
  events(room, after, signal) {
    const headers = { Accept: 'text/event-stream' };
    return this.open(this.#wire.address(`${path(room)}/events`, { after }), { headers, signal });
  }

  /** @param {Response} response @param {boolean} posted a message
   * @returns {Promise<ChatError>} */
  async #refusal(response, posted) {
    const { ChatError, parse } = this.#kit;
    const said = parse(await response.text());
    const after = Number(response.headers.get('Retry-After') ?? NaN) * 1000;
    // Everyone is told the same number of seconds; a part of one more keeps them apart.
    const retry = after >= 0 ? Math.min(after, LONGEST_RETRY) + Math.random() * 1000 : undefined;
    if (typeof said?.code === 'string') return new ChatError(said.code, String(said.text), retry);
    const { status } = response;
    const code = status === 429 ? 'rate_limited' : (posted && STATUS[status]) || 'unavailable';
    return new ChatError(code, `HTTP ${status} ${response.statusText}`, retry);
  }
}

/** @param {string} room */
function path(room) {
  return `rooms/${encodeURIComponent(room)}`;
}
