/**
 * What administrators may ask of chatd, over HTTP.
 *
 * @module admin/api
 */

/**
 * @typedef {{node: string, missed: boolean, ago: number, version: string, clients: number,
 *   behind: number, rooms: number}} Neighbour
 * @typedef {{room: string, private: boolean, members: number, count: number, rate: number | null,
 *   last: string | null, readers: number | null, behind: number}} RoomRow
 * @typedef {{kind: string, connected: boolean, blocked: string, alarms: string[],
 *   figures: {name: string, text: string, value: number}[]}} Broker
 * @typedef {{code: string, address: string, user: string, what: string, why: string,
 *   time: string, count: number}} Refused
 * @typedef {{node: string, state: string, time: string, uptime: number, version: string,
 *   clients: number, behind: number, nodes: Neighbour[], broker: Broker,
 *   published: number, delivered: number, refused: number,
 *   rooms: {count: number, shown: RoomRow[], more: boolean},
 *   readers: {user: string, room: string, behind: number}[], refusals: Refused[]}} NodeState
 * @typedef {{room: string, private: boolean, members: string[], present: string[],
 *   count: number}} Members
 */

/** chatd answered, and it was no. `status` is HTTP's, `retry` in seconds. */
export class RefusedError extends Error {
  /** @param {number} status @param {string} text @param {number} retry */
  constructor(status, text, retry) {
    super(text);
    this.name = 'RefusedError';
    this.status = status;
    this.retry = retry;
  }
}

/** How long an answer may take, in ms. */
const PATIENCE = 15_000;

export class Api {
  #key;

  /** @param {string} key the admin key, or a token */
  constructor(key) {
    this.#key = key;
  }

  /** @param {Record<string, string>} query @returns {Promise<NodeState>} */
  state(query) {
    return this.#ask('GET', `admin/state?${new URLSearchParams(query)}`);
  }

  /** @param {string} room @returns {Promise<Members>} */
  members(room) {
    return this.#ask('GET', `${path(room)}/members`);
  }

  /** @param {string} room @returns {Promise<unknown>} whether there is such a room */
  async exists(room) {
    try {
      return await this.members(room);
    } catch (error) {
      if (error instanceof RefusedError && error.status === 404) return false;
      throw error;
    }
  }

  /** @param {string} room @param {boolean} secret */
  put(room, secret) {
    return this.#ask('PUT', path(room), { private: secret });
  }

  /** @param {string} room */
  remove(room) {
    return this.#ask('DELETE', path(room));
  }

  /** @param {string} room @param {string} user */
  add(room, user) {
    return this.#ask('PUT', `${path(room)}/members/${encodeURIComponent(user)}`);
  }

  /** @param {string} room @param {string} user */
  drop(room, user) {
    return this.#ask('DELETE', `${path(room)}/members/${encodeURIComponent(user)}`);
  }

  /** @param {string} method @param {string} url @param {object} [body] @returns {Promise<any>} */
  async #ask(method, url, body) {
    /** @type {Record<string, string>} */
    const headers = { Authorization: `Bearer ${this.#key}` };
    if (body) headers['Content-Type'] = 'application/json';
    const answer = await fetch(url, {
      method,
      headers,
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE),
    });
    const said = answer.status === 204 ? {} : await answer.json();
    if (answer.ok) return said;
    const retry = Number(answer.headers.get('Retry-After')) || 0;
    throw new RefusedError(answer.status, String(said.text ?? answer.statusText), retry);
  }
}

/** @param {string} room */
function path(room) {
  return `rooms/${encodeURIComponent(room)}`;
}

/** What went wrong, in words. @param {unknown} error @returns {string} */
export function words(error) {
  if (error instanceof RefusedError) return error.message;
  return 'chatd cannot be reached. Nothing may have been done; try again.';
}
