/**
 * chatd's client: rooms over WebSocket, server-sent events or long-poll, whichever gets through.
 *
 *     import { Chat } from './chatd.js';
 *
 *     const chat = new Chat('/', { user: 'ann' });
 *     const room = await chat.join('lobby', { last: 50 });
 *     room.send('hello');
 *     for await (const message of room) console.log(message.user, message.text);
 *
 * A room is a stream and the client a cursor on it: after any interruption, on any transport, it
 * reads on after the last message it has. A message sent offline waits and is sent under its id,
 * so that it is stored once however often it had to be sent. Runs in browsers and in Node 20.
 * The wire is described in docs/protocol.rst, the use of this module in docs/browser.rst.
 *
 * @module chatd
 */

/**
 * @typedef {object} Message What a room carries.
 * @property {'message'} type
 * @property {string} room
 * @property {string} cursor opaque place in the room; reading "after" it continues behind this
 * @property {string} id unique for this user in this room
 * @property {string} user
 * @property {string} text
 * @property {string} time RFC 3339, UTC, milliseconds
 * @property {Record<string, unknown>} [data] the application's own
 *
 * @typedef {object} Page Stored messages, as `Room.history` returns them.
 * @property {Message[]} messages
 * @property {string} cursor to go on reading with `{after: cursor}`
 * @property {boolean} gap whether messages after the cursor asked for are no longer kept
 *
 * @typedef {{after?: string, last?: number, since?: string}} Position
 *   Where to begin, at most one of: after a cursor, N messages from the end, at a time (RFC 3339).
 *   None of them: now.
 *
 * @typedef {object} Presence
 * @property {string[]} members everyone here, sorted; cut above the server's presence limit
 * @property {number} count how many are here
 * @property {string[]} joined who came since the last event
 * @property {string[]} left who went since the last event
 *
 * @typedef {'websocket' | 'sse' | 'poll'} Transport
 *
 * @typedef {object} State
 * @property {'connecting' | 'online' | 'offline'} state
 * @property {Transport | null} transport while online
 * @property {number | null} retry while offline: milliseconds until the next try
 * @property {ChatError | null} error while offline: why, where known
 *
 * @typedef {object} Unsent A message that is not acknowledged yet.
 * @property {string} room
 * @property {string} id
 * @property {string} text
 * @property {Record<string, unknown>} [data]
 * @property {number} at when `send` was called, milliseconds since 1970
 *
 * @typedef {object} Options
 * @property {string} [user] open mode: who to be; without it a guest with a random name
 * @property {() => string | Promise<string>} [token] token mode: gives a JWT that is valid now;
 *   asked again before it expires and when the server refuses it
 * @property {Pick<Storage, 'getItem' | 'setItem' | 'removeItem' | 'key' | 'length'>} [storage]
 *   such as localStorage: unsent messages and the transport that worked survive a reload
 * @property {Transport[]} [transports] which to try, best first. By default those whose browser
 *   interface (WebSocket, EventSource) exists, and poll. Event streams are read with fetch, which
 *   can send a token in a header; a missing EventSource is taken as "no event streams here", so
 *   under Node name 'sse' to use them.
 * @property {typeof WebSocket} [WebSocket] in place of the global one
 * @property {typeof fetch} [fetch] in place of the global one
 * @property {number} [patience] ms in which a transport must prove that it works [4000]
 * @property {number} [answer] ms in which a request must be answered [20000]
 * @property {number} [silence] ms without a frame after which a WebSocket is checked [60000]
 * @property {number} [backoff] ms, the ceiling of the first wait before reconnecting [500]
 * @property {number} [backoffMax] ms, the ceiling of the longest such wait [30000]
 * @property {number} [upgrade] ms until a better transport is first tried again [30000]
 * @property {number} [unsent] how many messages may wait to be acknowledged [100]
 *
 * @typedef {{type: string, room?: string, [key: string]: any}} Frame an object of the protocol
 * @typedef {{retry?: number, error?: ChatError}} End why a link ended; retry in ms
 * @typedef {{up: (user?: string) => void, frame: (frame: Frame) => void, down: (end: End) => void}} Hooks
 * @typedef {Unsent & {flying?: Timer, resting?: Timer, tries: number, refused: boolean,
 *   promise: Promise<string>, resolve: (id: string) => void, reject: (error: ChatError) => void}} Entry
 * @typedef {ReturnType<typeof setTimeout>} Timer
 */

const SUBPROTOCOL = 'chatd.v1';
/** Ids remembered per room to drop repetitions: the server's own window. */
const WINDOW = 1000;
/** Messages kept for a reader that does not read; beyond them it reads on from the server. */
const FEED = 1000;
/** Streams held open at once over HTTP: browsers allow six connections to a host. */
const STREAMS = 4;
/** Milliseconds after which a connection counts as having worked. */
const STABLE = 10_000;
/** Longest wait that a server may ask for, and the longest a timer may run, in ms. */
const LONGEST_RETRY = 300_000;
const LONGEST_TIMER = 2_000_000_000;
/** Unsent messages older than this are not restored: nobody expects them any more. */
const UNSENT_AGE = 7 * 24 * 3600_000;
const UPGRADE_MAX = 30 * 60_000;
const DEFAULTS = {
  patience: 4000, answer: 20_000, silence: 60_000, backoff: 500, backoffMax: 30_000,
  upgrade: 30_000, unsent: 100,
};

/** The server refused, or cannot be reached (`network`, `timeout`), or the client did
 * (`closed`, `unsent_full`). `code` is otherwise one of the protocol's. */
export class ChatError extends Error {
  /**
   * @param {string} code
   * @param {string} text
   * @param {number} [retry] milliseconds after which to try again, where the server said so
   */
  constructor(code, text, retry) {
    super(text);
    this.name = 'ChatError';
    this.code = code;
    this.retry = retry;
  }

  /** Trying again later may help. */
  get temporary() {
    return ['unavailable', 'rate_limited', 'network', 'timeout'].includes(this.code);
  }
}

/** A fresh id for a message. @returns {string} */
export function newId() {
  return hex(16);
}

/** @param {number} bytes */
function hex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)),
    (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {{user: string, id: string}} message */
function key(message) {
  return `${message.user}\n${message.id}`;
}

/** @param {unknown} error @returns {ChatError} */
function asChatError(error) {
  return error instanceof ChatError ? error : new ChatError('network', String(error));
}

/** @param {string} text @returns {any} what `text` says in JSON; null if it is none */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
function sleep(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });
}

/** An abort signal that also fires when its time runs out, which may be extended. */
class Deadline {
  #controller = new AbortController();
  /** @type {Timer | undefined} */
  #timer;
  #outer;
  #follow = () => this.#controller.abort(this.#outer?.reason);

  /** @param {number} ms @param {AbortSignal} [outer] */
  constructor(ms, outer) {
    this.#outer = outer;
    if (outer?.aborted) this.#follow();
    outer?.addEventListener('abort', this.#follow);
    this.extend(ms);
  }

  get signal() {
    return this.#controller.signal;
  }

  /** @param {number} ms from now */
  extend(ms) {
    clearTimeout(this.#timer);
    const late = () => this.#controller.abort(new ChatError('timeout', 'No answer in time.'));
    this.#timer = setTimeout(late, ms);
  }

  clear() {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener('abort', this.#follow);
  }
}

/** @template {Record<string, any>} Events */
class Emitter {
  /** @type {Map<keyof Events, Set<(value: any) => void>>} */
  #listeners = new Map();

  /**
   * Call `listener` at each event `name`.
   *
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {(value: Events[Name]) => void} listener
   * @returns {() => void} ends it
   */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {Events[Name]} value
   * @protected
   */
  emit(name, value) {
    for (const listener of [...this.#listeners.get(name) ?? []]) call(listener, value);
  }
}

/**
 * Call an application's function; what it throws is its own affair, not the connection's.
 *
 * @template T
 * @param {(value: T) => void} listener
 * @param {T} value
 */
function call(listener, value) {
  try {
    listener(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

// -- addresses, credentials, requests ---------------------------------------------------------

/** Refusals by something before chatd that are about the request; any other means that this way
 * is barred. */
const STATUS = /** @type {Record<number, string>} */ ({ 413: 'too_large', 429: 'rate_limited' });

/** Who we are and how to ask. */
class Wire {
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

  /** @param {string | URL} url @param {Options & typeof DEFAULTS} options */
  constructor(url, options) {
    const base = new URL(url, globalThis.location?.href);
    base.protocol = base.protocol.replace('ws', 'http');
    base.search = base.hash = '';
    if (!base.pathname.endsWith('/')) base.pathname += '/';
    this.#base = base;
    this.#options = options;
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
    const token = await ask();
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
    const response = await get(this.#address(path, query, unnamed).href,
      { ...init, headers, cache: 'no-store' });
    if (!response.ok) throw await refusal(response);
    return response;
  }

  /**
   * @param {string} path
   * @param {{query?: Record<string, unknown>, body?: object, timeout?: number,
   *   signal?: AbortSignal, unnamed?: boolean}} [how]
   * @returns {Promise<any>}
   */
  async request(path, { query = {}, body, timeout = this.#options.answer, signal, unnamed } = {}) {
    const deadline = new Deadline(timeout, signal);
    try {
      const headers = { 'Content-Type': 'application/json' };
      const post = body && { method: 'POST', headers, body: JSON.stringify(body) };
      const init = { ...post, signal: deadline.signal };
      const response = await this.open(path, query, init, unnamed);
      return await response.json();
    } catch (error) {
      throw asChatError(error);
    } finally {
      deadline.clear();
    }
  }
}

/**
 * Stored messages, read without saying who reads where that will do: the server takes someone
 * who reads under a name for present, a while longer than the page may last.
 *
 * @param {Wire} wire @param {string} room
 * @param {{query: Record<string, unknown>, timeout?: number, signal?: AbortSignal}} how
 * @returns {Promise<Page>}
 */
async function read(wire, room, how) {
  try {
    return await wire.request(`${path(room)}/messages`, { ...how, unnamed: true });
  } catch (error) {
    if (!['forbidden', 'unauthorized'].includes(asChatError(error).code)) throw error;
    return wire.request(`${path(room)}/messages`, how);
  }
}

/** @param {Response} response @returns {Promise<ChatError>} */
async function refusal(response) {
  const said = parse(await response.text());
  const after = Number(response.headers.get('Retry-After') ?? NaN) * 1000;
  // Everyone is told the same number of seconds; a part of one more keeps them apart.
  const retry = after >= 0 ? Math.min(after, LONGEST_RETRY) + Math.random() * 1000 : undefined;
  if (typeof said?.code === 'string') return new ChatError(said.code, String(said.text), retry);
  const code = STATUS[response.status] ?? 'unavailable';
  return new ChatError(code, `HTTP ${response.status} ${response.statusText}`, retry);
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
function path(room) {
  return `rooms/${encodeURIComponent(room)}`;
}

// -- links: the transports, all speaking the WebSocket's frames -------------------------------

/** @type {Hooks} */
const NO_HOOKS = { up() {}, frame() {}, down() {} };

/** One WebSocket for all rooms. */
class SocketLink {
  hooks = NO_HOOKS;
  isUp = false;
  #wire;
  #options;
  /** @type {WebSocket | undefined} */
  #socket;
  /** @type {string[]} what to send once welcome */
  #early = [];
  /** @type {Timer | undefined} */
  #timer;
  #heard = 0;
  #checking = false;
  /** @type {number | undefined} */
  #retry;

  /** @param {Wire} wire @param {Options & typeof DEFAULTS} options */
  constructor(wire, options) {
    this.#wire = wire;
    this.#options = options;
  }

  open() {
    const Implementation = this.#options.WebSocket ?? globalThis.WebSocket;
    this.#timer = setTimeout(() => this.#end({}), this.#options.patience);
    try {
      this.#socket = new Implementation(this.#wire.socket(), SUBPROTOCOL);
    } catch (error) {
      queueMicrotask(() => this.#end({ error: asChatError(error) }));
      return;
    }
    this.#socket.onmessage = (event) => this.#receive(parse(event.data));
    this.#socket.onclose = (event) => this.#end(event.code === 4401
      ? { error: new ChatError('unauthorized', event.reason || 'The token has expired.') } : {});
  }

  /** @param {any} frame */
  #receive(frame) {
    this.#heard = Date.now();
    this.#checking = false;
    if (frame?.type === 'welcome') {
      if (!this.isUp) clearTimeout(this.#timer);
      this.isUp = true;
      this.#early.splice(0).forEach((text) => this.#socket?.send(text));
      this.hooks.up(frame.user);
    } else if (frame?.type === 'bye') {
      this.#retry = Math.min(Number(frame.retry) || 0, LONGEST_RETRY);
    } else if (typeof frame?.type === 'string') {
      this.hooks.frame(frame);
    }
  }

  /** @param {End} end */
  #end(end) {
    this.close();
    this.hooks.down({ retry: this.#retry, ...end });
  }

  /** @param {Frame} frame */
  #say(frame) {
    if (!this.isUp) this.#early.push(JSON.stringify(frame));
    else if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(frame));
  }

  /** @param {string} room @param {Position} position */
  join(room, position) {
    this.#say({ type: 'join', room, ...position });
  }

  /** @param {string} room */
  leave(room) {
    this.#say({ type: 'leave', room });
  }

  /** @param {Unsent} unsent */
  send({ room, id, text, data }) {
    this.#say({ type: 'message', room, id, text, data });
  }

  /** @param {string} room */
  typing(room) {
    this.#say({ type: 'typing', room });
  }

  /** The wire has a new token. */
  renew() {
    this.#say(this.#wire.auth());
  }

  get idle() {
    return Date.now() - this.#heard;
  }

  /** Ask for an answer, and end if none comes: joining again where we are changes nothing.
   * @param {string} room @param {Position} position */
  check(room, position) {
    if (this.#checking) return;
    this.#checking = true;
    this.#timer = setTimeout(() => this.#checking && this.#end({}), this.#options.patience);
    this.join(room, position);
  }

  close() {
    clearTimeout(this.#timer);
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }
}

/** Reading by event streams or long polls, one per room; writing by POST. */
class HttpLink {
  hooks = NO_HOOKS;
  isUp = false;
  idle = 0;
  #wire;
  #options;
  #streaming;
  /** @type {Map<string, AbortController>} */
  #readers = new Map();
  #streams = 0;
  /** Seconds that a poll asks to wait; less where something on the way cuts it short. */
  #wait = 25;
  /** @type {number | undefined} */
  #retry;
  #ended = new AbortController();

  /** @param {Wire} wire @param {Options & typeof DEFAULTS} options @param {boolean} streaming */
  constructor(wire, options, streaming) {
    this.#wire = wire;
    this.#options = options;
    this.#streaming = streaming;
  }

  open() {}

  /** @param {string} room @param {Position} position */
  join(room, position) {
    this.leave(room);
    const reader = new AbortController();
    this.#readers.set(room, reader);
    void this.#read(room, position, reader.signal);
  }

  /** @param {string} room */
  leave(room) {
    this.#readers.get(room)?.abort();
    this.#readers.delete(room);
  }

  /** @param {Unsent} unsent */
  async send({ room, id, text, data }) {
    try {
      const body = { text, id, data };
      await this.#wire.request(`${path(room)}/messages`, { body, signal: this.#ended.signal });
      this.hooks.frame({ type: 'ack', room, id });
    } catch (error) {
      const { code, message, retry } = asChatError(error);
      if (code === 'network' || code === 'timeout') this.#end({ error: asChatError(error) });
      else this.hooks.frame({ type: 'error', code, text: message, room, id, retry });
    }
  }

  /** HTTP has no way to say so. */
  typing() {}

  /** Requests take the new token by themselves. */
  renew() {}

  /** @param {string} room */
  async check(room) {
    try {
      const { signal } = this.#ended;
      await this.#wire.request(path(room), { timeout: this.#options.patience, signal });
    } catch (error) {
      if (['network', 'timeout'].includes(asChatError(error).code)) this.#end({});
    }
  }

  close() {
    this.#ended.abort();
    for (const room of [...this.#readers.keys()]) this.leave(room);
  }

  /** @param {End} end */
  #end(end) {
    if (this.#ended.signal.aborted) return;
    this.close();
    this.hooks.down(end);
  }

  #up() {
    if (this.isUp) return;
    this.isUp = true;
    this.hooks.up();
  }

  /** @param {string} room @param {Position} position @param {AbortSignal} signal */
  async #read(room, position, signal) {
    const streaming = this.#streaming && this.#streams < STREAMS;
    const waiting = this.#streams < STREAMS;
    if (waiting) this.#streams += 1;
    try {
      // An event stream says where it stands only with its first message; a page always does.
      const first = streaming && position.after !== undefined ? null
        : await this.#page(room, position, signal);
      const after = first?.cursor ?? position.after ?? '';
      const frames = streaming ? this.#stream(room, after, signal)
        : this.#poll(room, after, waiting, signal);
      const { done } = await frames.next();
      if (done) throw new ChatError('unavailable', 'The event stream was empty.');
      const here = await this.#here(room, signal);
      if (signal.aborted) return;
      this.#up();
      const gap = first?.gap ?? false;
      const start = first?.messages.length ? undefined : after;
      this.hooks.frame({ ...here, type: 'joined', cursor: start, gap });
      this.#deliver(room, first);
      for await (const frame of frames) {
        if (signal.aborted) return;
        this.hooks.frame(frame);
      }
      this.#end({ retry: this.#retry });
    } catch (error) {
      if (!signal.aborted) this.#failed(room, asChatError(error));
    } finally {
      if (waiting) this.#streams -= 1;
    }
  }

  /** @param {string} room @param {ChatError} error */
  #failed(room, error) {
    if (['forbidden', 'unknown_room', 'bad_request'].includes(error.code)) {
      this.#up();
      this.hooks.frame({ type: 'error', code: error.code, text: error.message, room });
    } else {
      this.#end({ error, retry: error.retry });
    }
  }

  /** @param {string} room @param {Page | null} page */
  #deliver(room, page) {
    if (!page) return;
    page.messages.forEach((message) => this.hooks.frame(message));
    this.hooks.frame({ type: 'cursor', room, cursor: page.cursor });
  }

  /** @param {string} room @param {Record<string, unknown>} query @param {AbortSignal} signal
   * @returns {Promise<Page>} */
  #page(room, query, signal) {
    const wait = Number(query.wait ?? 0) * 1000;
    const timeout = wait + (this.isUp ? this.#options.answer : this.#options.patience);
    const how = { query, timeout, signal };
    return this.#streaming && query.wait === undefined ? read(this.#wire, room, how)
      : this.#wire.request(`${path(room)}/messages`, how);
  }

  /** @param {string} room @param {AbortSignal} signal @returns {Promise<Frame>} */
  async #here(room, signal) {
    const { members, count } = await this.#wire.request(path(room), { signal });
    return { type: 'presence', room, members, count };
  }

  /**
   * The room by long polls. The first item says only that it works.
   *
   * @param {string} room @param {string} after @param {boolean} waiting @param {AbortSignal} signal
   * @returns {AsyncGenerator<Frame>}
   */
  async* #poll(room, after, waiting, signal) {
    yield { type: 'started' };
    let looked = Date.now();
    while (!signal.aborted) {
      const begun = Date.now();
      try {
        const wait = waiting ? this.#wait : 0;
        const page = await this.#page(room, { after, wait, limit: 500 }, signal);
        if (page.gap) yield { type: 'gap', room };
        yield* page.messages;
        yield { type: 'cursor', room, cursor: page.cursor };
        after = page.cursor;
        if (!waiting && !page.messages.length) await sleep(3000, signal);
      } catch (error) {
        const lasted = (Date.now() - begun) / 1000;
        // Cut short on the way rather than refused: ask for half as long.
        if (!asChatError(error).temporary || lasted < 5 || this.#wait <= 5) throw error;
        this.#wait = Math.max(5, Math.min(this.#wait, lasted) / 2);
      }
      if (Date.now() - looked > 15_000) {
        looked = Date.now();
        yield await this.#here(room, signal);
      }
    }
  }

  /**
   * The room by an event stream. The first item says only that bytes arrive.
   *
   * @param {string} room @param {string} after @param {AbortSignal} signal
   * @returns {AsyncGenerator<Frame>}
   */
  async* #stream(room, after, signal) {
    const deadline = new Deadline(this.#options.patience, signal);
    try {
      const response = await this.#wire.open(`${path(room)}/events`, { after },
        { headers: { Accept: 'text/event-stream' }, signal: deadline.signal });
      const type = response.headers.get('Content-Type') ?? '';
      if (!response.body || !type.startsWith('text/event-stream')) {
        throw new ChatError('unavailable', 'This is no event stream.');
      }
      const events = new EventParser();
      const text = new TextDecoder();
      const body = response.body.getReader();
      for (let first = true; ; first = false) {
        const { done, value } = await body.read();
        if (done) return void (this.#retry = events.retry);
        // The server sends a comment every 15 s.
        deadline.extend(45_000);
        if (first) yield { type: 'started' };
        for (const event of events.push(text.decode(value, { stream: true }))) {
          const frame = parse(event.data) ?? {};
          yield event.name === 'message' ? { ...frame, type: 'message', room }
            : { ...frame, type: event.name, room };
        }
      }
    } finally {
      deadline.clear();
    }
  }
}

/** Server-sent events out of the text of a stream (HTML, 9.2.6). */
export class EventParser {
  /** @type {number | undefined} milliseconds to wait before reconnecting, as the server says */
  retry;
  #rest = '';
  #name = '';
  /** @type {string[]} */
  #data = [];

  /** @param {string} text @returns {Generator<{name: string, data: string}>} */
  * push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > 1_000_000) throw new ChatError('too_large', 'A line without end.');
    for (const line of lines) {
      const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (line === '') {
        if (this.#data.length) yield { name: this.#name || 'message', data: this.#data.join('\n') };
        this.#name = '';
        this.#data = [];
      } else if (field === 'event') {
        this.#name = value ?? '';
      } else if (field === 'data') {
        this.#data.push(value ?? '');
      } else if (field === 'retry' && /^\d+$/.test(value ?? '')) {
        this.retry = Math.min(Number(value), LONGEST_RETRY);
      }
    }
  }
}

// -- rooms ------------------------------------------------------------------------------------

/** One reader's place in a room. A reader that is slow is neither waited for nor buffered for
 * without end: it falls behind, and then reads on from the server. */
class Feed {
  #history;
  /** @type {Message[]} */
  #queue = [];
  /** @type {Message[] | null} what arrives while we catch up */
  #live = null;
  /** @type {string | null} the cursor to catch up from */
  #behind = null;
  /** @type {{error?: ChatError} | null} */
  #ended = null;
  #wake = () => {};
  /** @type {Promise<unknown>} reads wait for one another */
  #turn = Promise.resolve();

  /** @param {Room['history']} history */
  constructor(history) {
    this.#history = history;
  }

  /** @param {Message} message */
  push(message) {
    if (this.#live) {
      if (this.#live.push(message) > FEED) this.#live = null;
    } else if (this.#behind === null) {
      if (this.#queue.length < FEED) this.#queue.push(message);
      else this.#behind = this.#queue[FEED - 1].cursor;
    }
    this.#wake();
  }

  /** The room has ended: what is here can still be read. @param {ChatError} [error] */
  end(error) {
    this.#ended ??= { error };
    this.#wake();
  }

  /** The reader wants no more. */
  stop() {
    this.#queue = [];
    this.end();
  }

  /** @returns {Promise<IteratorResult<Message, undefined>>} */
  next() {
    const next = this.#turn.then(() => this.#take());
    this.#turn = next.catch(() => {});
    return next;
  }

  /** @returns {Promise<IteratorResult<Message, undefined>>} */
  async #take() {
    for (;;) {
      const value = this.#queue.shift();
      if (value) return { value, done: false };
      if (this.#ended?.error) throw this.#ended.error;
      if (this.#ended) return { value: undefined, done: true };
      if (this.#behind !== null) await this.#catchUp(this.#behind);
      else await new Promise((resolve) => void (this.#wake = () => resolve(undefined)));
    }
  }

  /** @param {string} after */
  async #catchUp(after) {
    this.#live = [];
    try {
      const page = await this.#history({ after, limit: FEED });
      const got = new Set(page.messages.map(key));
      this.#queue.push(...page.messages);
      this.#behind = page.cursor;
      if (page.messages.length < FEED && this.#live) {
        this.#queue.push(...this.#live.filter((message) => !got.has(key(message))));
        this.#behind = null;
      }
    } catch (error) {
      if (!asChatError(error).temporary) this.end(asChatError(error));
      else await sleep(1000 + Math.random() * 1000);
    } finally {
      this.#live = null;
    }
  }
}

/**
 * @typedef {object} RoomEvents
 * @property {Message} message each message once, in order
 * @property {Presence} presence
 * @property {{user: string}} typing
 * @property {{cursor: string | null}} gap messages before the next one are no longer kept
 * @property {{id: string}} sent a message of ours is acknowledged
 * @property {{id: string, error: ChatError}} failed a message of ours is refused for good
 * @property {ChatError} closed the room is gone, or the right to it
 */

/**
 * A room that we are in; `Chat.join` makes it. `for await` gives its messages, and so does
 * `on('message')`; the first of these also gets what came before it.
 *
 * @extends {Emitter<RoomEvents>}
 */
export class Room extends Emitter {
  /** @type {string[]} who is here, sorted */
  members = [];
  /** How many are here. */
  count = 0;
  /** @type {string | null} where we are: `{after: cursor}` goes on behind the last message */
  cursor = null;
  /** Whether messages asked for when joining are no longer kept. */
  gap = false;
  #desk;
  /** @type {Set<string>} */
  #seen = new Set();
  /** @type {Set<Feed>} */
  #feeds = new Set();
  /** @type {Feed | null} kept from the start for the first reader */
  #first;
  #typed = 0;
  /** @type {{error?: ChatError} | null} */
  #ended = null;
  /** How far back `before` looks, in ms: it learns how busy the room is. */
  #span = 60_000;

  /**
   * @param {string} name
   * @param {{wire: Wire, send: (unsent: Unsent) => Promise<string>, unsent: () => Unsent[],
   *   typing: () => void, leave: () => void}} desk
   * @package
   */
  constructor(name, desk) {
    super();
    this.name = name;
    this.#desk = desk;
    this.#first = this.#newFeed();
  }

  /**
   * Send a message; resolves with its id once the server has stored it. Offline it waits and is
   * sent later, under the same id. Rejects with a ChatError if the server refuses it.
   *
   * @param {string} text
   * @param {{id?: string, data?: Record<string, unknown>}} [more]
   * @returns {Promise<string>}
   */
  send(text, { id = newId(), data } = {}) {
    this.#typed = 0;
    return this.#desk.send({ room: this.name, id, text, data, at: Date.now() });
  }

  /** Our messages that are not acknowledged, restored ones included, oldest first. */
  get unsent() {
    return this.#desk.unsent();
  }

  /** Tell the others that we are typing; call it at each key, it is passed on now and then. */
  typing() {
    if (Date.now() - this.#typed < 3000) return;
    this.#typed = Date.now();
    this.#desk.typing();
  }

  /** Leave; iteration ends. */
  leave() {
    this.#desk.leave();
    this._end();
  }

  /**
   * Stored messages, oldest first.
   *
   * @param {Position & {limit?: number}} query limit is 100 by default, at most 1000
   * @returns {Promise<Page>}
   */
  history = async (query) => {
    await this.#desk.wire.authenticate();
    return read(this.#desk.wire, this.name, { query });
  };

  /**
   * Up to `count` messages that precede `message`, oldest first; none if it is the oldest kept.
   * The server reads forward only, so this looks for a time that lies the right way back.
   *
   * @param {Message} message
   * @param {number} [count]
   * @returns {Promise<Message[]>}
   */
  async before(message, count = 100) {
    const end = Date.parse(message.time);
    /** @type {Message[]} */
    let found = [];
    for (let tries = 0; tries < 12; tries += 1) {
      const { before, passed, reached } = await this.#walk(message, end - this.#span, count);
      if (!reached && found.length) return found;
      if (!reached) this.#span = Math.ceil(this.#span / 8);
      else if (passed >= count) this.#span = Math.ceil((this.#span * 2 * count) / passed);
      if (reached && (passed >= count || this.#span > end)) return before;
      if (reached) this.#span *= 30;
      found = before;
    }
    return found;
  }

  /**
   * Read from `start` (ms since 1970) up to `message`, a few thousand messages at most.
   *
   * @param {Message} message @param {number} start @param {number} count
   * @returns {Promise<{before: Message[], passed: number, reached: boolean}>} the last `count`
   *   before it, of how many, and whether it was reached
   */
  async #walk(message, start, count) {
    /** @type {Message[]} */
    let before = [];
    let passed = 0;
    /** @type {Position} */
    let from = { since: new Date(Math.max(0, start)).toISOString() };
    for (let pages = 0; pages < 5; pages += 1) {
      const page = await this.history({ ...from, limit: FEED });
      const place = page.messages.findIndex((one) => key(one) === key(message));
      const older = place < 0 ? page.messages : page.messages.slice(0, place);
      before = [...before, ...older].slice(-count);
      passed += older.length;
      if (place >= 0) return { before, passed, reached: true };
      if (page.messages.length < FEED) break;
      from = { after: page.cursor };
    }
    return { before: [], passed, reached: false };
  }

  /**
   * @template {keyof RoomEvents} Name
   * @param {Name} name
   * @param {(value: RoomEvents[Name]) => void} listener
   * @returns {() => void} ends it
   */
  on(name, listener) {
    if (name !== 'message') return super.on(name, listener);
    const feed = this.#takeFeed();
    const pump = async () => {
      for (;;) {
        const { value, done } = await feed.next();
        if (done) return;
        call(/** @type {(value: Message) => void} */ (listener), value);
      }
    };
    // The room's end is told by `closed`.
    pump().catch(() => {});
    return () => this.#drop(feed);
  }

  /** @returns {AsyncIterator<Message, undefined>} */
  [Symbol.asyncIterator]() {
    const feed = this.#takeFeed();
    return {
      next: () => feed.next(),
      return: async () => {
        this.#drop(feed);
        return { value: undefined, done: true };
      },
    };
  }

  #newFeed() {
    const feed = new Feed(this.history);
    this.#feeds.add(feed);
    if (this.#ended) feed.end(this.#ended.error);
    return feed;
  }

  #takeFeed() {
    const feed = this.#first ?? this.#newFeed();
    this.#first = null;
    return feed;
  }

  /** @param {Feed} feed */
  #drop(feed) {
    this.#feeds.delete(feed);
    feed.stop();
  }

  /** @param {Frame} frame @package */
  _receive(frame) {
    if (frame.type === 'message') this.#message(/** @type {any} */ (frame));
    else if (frame.type === 'cursor') this.cursor = frame.cursor;
    else if (frame.type === 'typing') this.emit('typing', { user: frame.user });
    else if (frame.type === 'gap') this.#gapped(frame.cursor ?? null);
    else if (frame.type === 'presence') this.#present(frame);
    else if (frame.type === 'joined') {
      if (frame.cursor) this.cursor = frame.cursor;
      if (frame.gap) this.#gapped(this.cursor);
      this.#present(frame);
    }
  }

  /** @param {string | null} cursor */
  #gapped(cursor) {
    this.gap = true;
    this.emit('gap', { cursor });
  }

  /** @param {Message} message */
  #message(message) {
    this.cursor = message.cursor;
    if (this.#seen.has(key(message))) return;
    this.#seen.add(key(message));
    if (this.#seen.size > WINDOW) this.#seen.delete(String(this.#seen.values().next().value));
    for (const feed of this.#feeds) feed.push(message);
  }

  /** @param {Frame} frame who is here (members), or who came and went (joined, left) */
  #present({ members, joined = [], left = [], count }) {
    const before = this.members;
    const now = new Set(Array.isArray(members) ? members : before);
    for (const user of left) now.delete(user);
    for (const user of joined) now.add(user);
    this.members = [...now].sort((a, b) => a.localeCompare(b));
    this.count = Number(count ?? now.size);
    this.emit('presence', {
      members: this.members,
      count: this.count,
      joined: this.members.filter((user) => !before.includes(user)),
      left: before.filter((user) => !now.has(user)),
    });
  }

  /** @param {string} id @param {ChatError} [error] @package */
  _settled(id, error) {
    if (error) this.emit('failed', { id, error });
    else this.emit('sent', { id });
  }

  /** @param {ChatError} [error] @package */
  _end(error) {
    this.#ended = { error };
    for (const feed of this.#feeds) feed.end(error);
    if (error) this.emit('closed', error);
  }
}

// -- what is not acknowledged yet -------------------------------------------------------------

/** Messages in the order of sending, each kept until the server has answered for it. */
class Outbox {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  #limit;
  #storage;
  #prefix = '';

  /** @param {number} limit @param {Options['storage']} storage */
  constructor(limit, storage) {
    this.#limit = limit;
    this.#storage = storage;
  }

  [Symbol.iterator]() {
    return this.#entries.values();
  }

  /** @param {Unsent} unsent @returns {Entry} the one there is, if it was added before */
  add(unsent) {
    const name = `${unsent.room}\n${unsent.id}`;
    const known = this.#entries.get(name);
    if (known) return known;
    if (this.#entries.size >= this.#limit) {
      throw new ChatError('unsent_full', `${this.#limit} messages are waiting already.`);
    }
    let [resolve, reject] = [(/** @type {string} */ _) => {}, (/** @type {ChatError} */ _) => {}];
    /** @type {Promise<string>} */
    const promise = new Promise((yes, no) => {
      [resolve, reject] = [yes, no];
    });
    const entry = { ...unsent, tries: 0, refused: false, promise, resolve, reject };
    this.#entries.set(name, entry);
    this.#keep(unsent);
    return entry;
  }

  /** @param {string} room @param {string} id */
  get(room, id) {
    return this.#entries.get(`${room}\n${id}`);
  }

  /** @param {Entry} entry answered for */
  remove(entry) {
    this.rest(entry);
    this.#entries.delete(`${entry.room}\n${entry.id}`);
    if (this.#prefix) this.#try((storage) => storage.removeItem(this.#prefix + entry.id));
  }

  /** @param {Entry} entry not on its way any more */
  rest(entry) {
    clearTimeout(entry.flying);
    clearTimeout(entry.resting);
    entry.flying = entry.resting = undefined;
  }

  /** Take over what an earlier page of the same user left. @param {string} prefix */
  restore(prefix) {
    if (this.#prefix || !this.#storage) return;
    this.#prefix = prefix;
    for (const entry of this) this.#keep(entry);
    this.#try((storage) => {
      const names = Array.from({ length: storage.length }, (_, i) => storage.key(i) ?? '');
      const left = names.filter((name) => name.startsWith(prefix))
        .map((name) => parse(storage.getItem(name) ?? ''))
        .filter((unsent) => typeof unsent?.id === 'string' && typeof unsent.room === 'string'
          && Date.now() - unsent.at < UNSENT_AGE)
        .sort((a, b) => a.at - b.at);
      // Nobody waits for these any more.
      for (const unsent of left) this.add(unsent).promise.catch(() => {});
    });
  }

  /** @param {Unsent} unsent */
  #keep({ room, id, text, data, at }) {
    if (!this.#prefix) return;
    const value = JSON.stringify({ room, id, text, data, at });
    this.#try((storage) => storage.setItem(this.#prefix + id, value));
  }

  /** Storage may be full or forbidden; then messages live as long as the page. @param
   * {(storage: NonNullable<Options['storage']>) => void} use */
  #try(use) {
    try {
      if (this.#storage) use(this.#storage);
    } catch {
      // Nothing to mend here.
    }
  }
}

// -- the chat ---------------------------------------------------------------------------------

/**
 * @typedef {object} ChatEvents
 * @property {State} state
 * @property {ChatError} error what no promise tells: no token to be had, or one refused
 *
 * @typedef {SocketLink | HttpLink} Link
 * @typedef {{room: Room, start: Position, joined: boolean, promise: Promise<Room>,
 *   resolve: (room: Room) => void, reject: (error: ChatError) => void}} Seat
 */

/**
 * A connection to chatd that mends itself.
 *
 * @extends {Emitter<ChatEvents>}
 */
export class Chat extends Emitter {
  /** @type {State} */
  #state = { state: 'offline', transport: null, retry: null, error: null };
  #options;
  #wire;
  #transports;
  #outbox;
  /** @type {Map<string, Seat>} */
  #seats = new Map();
  /** @type {Link | null} */
  #link = null;
  #finish = (/** @type {End & {better?: {link: Link, level: number}}} */ _) => {};
  /** Where in #transports to begin. */
  #level;
  #attempt = 0;
  #flaps = 0;
  /** The server has refused our token. */
  #stale = false;
  #upgradeDelay;
  #running = false;
  #closed = new AbortController();
  #wake = () => {};
  /** @type {Record<'renew' | 'upgrade' | 'watch', Timer | undefined>} */
  #timers = { renew: undefined, upgrade: undefined, watch: undefined };

  /**
   * @param {string | URL} url where chatd's chat page is, relative to this page
   * @param {Options} [options]
   */
  constructor(url, options = {}) {
    super();
    this.#options = { ...DEFAULTS, ...options };
    this.#wire = new Wire(url, this.#options);
    this.#transports = options.transports ?? usable(options);
    this.#outbox = new Outbox(this.#options.unsent, options.storage);
    this.#upgradeDelay = this.#options.upgrade;
    this.#level = Math.max(0, this.#transports.indexOf(this.#remembered()));
    this.#listen();
  }

  /** Who we are; in token mode known once connected. */
  get user() {
    return this.#wire.user;
  }

  get state() {
    return this.#state;
  }

  /**
   * Join a room. Resolves once the server has let us in, however long it takes to reach it;
   * rejects with a ChatError if it refuses. Joining again gives the same room.
   *
   * @param {string} name
   * @param {Position} [position]
   * @returns {Promise<Room>}
   */
  join(name, position = {}) {
    if (this.#closed.signal.aborted) return Promise.reject(closed());
    name = name.normalize('NFC');
    const known = this.#seats.get(name);
    if (known) return known.promise;
    let [resolve, reject] = [(/** @type {Room} */ _) => {}, (/** @type {ChatError} */ _) => {}];
    /** @type {Promise<Room>} */
    const promise = new Promise((yes, no) => {
      [resolve, reject] = [yes, no];
    });
    const room = new Room(name, {
      wire: this.#wire,
      send: (unsent) => this.#send(unsent),
      unsent: () => [...this.#outbox].filter((entry) => entry.room === name),
      typing: () => this.#link?.isUp && this.#link.typing(name),
      leave: () => this.#leave(name),
    });
    this.#seats.set(name, { room, start: position, joined: false, promise, resolve, reject });
    this.#link?.join(name, position);
    this.#wake();
    if (!this.#running) void this.#run();
    return promise;
  }

  /** Leave all rooms and close the connection for good. Unsent messages reject. */
  close() {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort();
    this.#finish({});
    this.#wake();
    for (const seat of this.#seats.values()) {
      seat.reject(closed());
      seat.room._end();
    }
    this.#seats.clear();
    for (const entry of this.#outbox) {
      this.#outbox.rest(entry);
      entry.reject(closed());
    }
    this.#show('offline');
  }

  // -- connecting

  async #run() {
    this.#running = true;
    while (!this.#closed.signal.aborted) {
      if (!this.#seats.size) await this.#pause(LONGEST_TIMER, true);
      const end = await this.#round();
      if (this.#closed.signal.aborted) return;
      const wait = end.retry ?? Math.random()
        * Math.min(this.#options.backoffMax, this.#options.backoff * 2 ** this.#attempt);
      this.#attempt = Math.min(this.#attempt + 1, 20);
      this.#show('offline', { retry: Math.round(wait), error: end.error });
      await this.#pause(wait, end.retry === undefined);
    }
  }

  /** Try the transports from the remembered one down, until one has worked and ended.
   * @returns {Promise<End>} */
  async #round() {
    /** @type {End} */
    let end = {};
    let renewed = false;
    for (let level = this.#level; level < this.#transports.length; level += 1) {
      this.#show('connecting');
      try {
        await this.#wire.authenticate(this.#stale);
        renewed ||= this.#stale;
        this.#stale = false;
      } catch (error) {
        return this.#refused(new ChatError('unauthorized', `No token: ${error}`));
      }
      this.#restore();
      const { lived, ...rest } = await this.#carry(this.#make(level), level);
      end = rest;
      this.#stale = end.error?.code === 'unauthorized';
      if (this.#closed.signal.aborted || lived) return end;
      if (this.#stale && end.error) {
        if (renewed || !this.#options.token) return this.#refused(end.error);
        // A WebSocket does not tell why it was refused: the better transports have a new chance.
        level = this.#level - 1;
      } else if (end.retry !== undefined) {
        return end;
      }
    }
    // Nothing works: the place may have changed, so nothing that was learnt counts.
    this.#level = 0;
    return end;
  }

  /** @param {ChatError} error @returns {End} */
  #refused(error) {
    this.emit('error', error);
    for (const [name, seat] of this.#seats) if (!seat.joined) this.#unseat(name, error);
    return { error };
  }

  /** @param {number} level @returns {Link} */
  #make(level) {
    const transport = this.#transports[level];
    if (transport === 'websocket') return new SocketLink(this.#wire, this.#options);
    return new HttpLink(this.#wire, this.#options, transport === 'sse');
  }

  /**
   * Let a link carry the chat until it ends.
   *
   * @param {Link} link @param {number} level
   * @returns {Promise<End & {lived?: boolean}>} lived: it worked at all
   */
  async #carry(link, level) {
    let since = 0;
    /** @type {End & {better?: {link: Link, level: number}}} */
    const end = await new Promise((resolve) => {
      this.#finish = resolve;
      link.hooks = {
        frame: (frame) => this.#receive(frame),
        down: resolve,
        up: (user) => {
          if (user) this.#wire.user = user;
          if (since) return;
          since = Date.now();
          this.#online(level);
        },
      };
      this.#link = link;
      if (link.isUp) link.hooks.up();
      else link.open();
      for (const [name, seat] of this.#seats) link.join(name, place(seat));
    });
    link.close();
    this.#link = null;
    this.#finish = () => {};
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    for (const entry of this.#outbox) this.#outbox.rest(entry);
    if (end.better) return this.#carry(end.better.link, end.better.level);
    if (since) this.#judge(level, Date.now() - since, end);
    return since ? { ...end, lived: true } : end;
  }

  /** @param {number} level @param {number} lasted @param {End} end */
  #judge(level, lasted, end) {
    if (lasted >= STABLE) this.#attempt = this.#flaps = 0;
    else if (end.retry === undefined) this.#flaps += 1;
    // It is let through but does not last: the next transport may.
    if (this.#flaps >= 3 && level + 1 < this.#transports.length) {
      this.#flaps = 0;
      this.#level = level + 1;
    }
  }

  /** @param {number} level */
  #online(level) {
    this.#level = level;
    this.#remember(this.#transports[level]);
    this.#show('online');
    this.#renewLater();
    if (level > 0) this.#upgradeLater();
    else this.#upgradeDelay = this.#options.upgrade;
    const { silence } = this.#options;
    const watch = () => {
      if ((this.#link?.idle ?? 0) > silence) this.#check();
      this.#timers.watch = setTimeout(watch, silence / 4);
    };
    this.#timers.watch = setTimeout(watch, silence / 4);
    this.#flush();
  }

  #renewLater() {
    clearTimeout(this.#timers.renew);
    if (this.#wire.renewal === Infinity) return;
    const wait = Math.min(Math.max(0, this.#wire.renewal - Date.now()), LONGEST_TIMER);
    this.#timers.renew = setTimeout(async () => {
      const link = this.#link;
      try {
        await this.#wire.authenticate();
        if (link === this.#link) link?.renew();
      } catch (error) {
        this.emit('error', new ChatError('unauthorized', `No token: ${error}`));
        this.#wire.renewal = Date.now() + 5000 + Math.random() * 5000;
      }
      if (link && link === this.#link) this.#renewLater();
    }, wait);
  }

  #upgradeLater() {
    clearTimeout(this.#timers.upgrade);
    const wait = this.#upgradeDelay * (0.5 + Math.random() / 2);
    this.#upgradeDelay = Math.min(this.#upgradeDelay * 2, UPGRADE_MAX);
    this.#timers.upgrade = setTimeout(() => this.#upgrade(), wait);
  }

  /** Try the better transports beside the one in use, and change over if one works. */
  async #upgrade() {
    const link = this.#link;
    const seat = [...this.#seats.values()].find(({ joined }) => joined);
    for (let level = 0; seat && level < this.#level; level += 1) {
      const better = this.#make(level);
      const works = await new Promise((resolve) => {
        better.hooks = { up: () => resolve(true), frame() {}, down: () => resolve(false) };
        better.open();
        if (better instanceof HttpLink) better.join(seat.room.name, place(seat));
      });
      if (works && link === this.#link) return void this.#finish({ better: { link: better, level } });
      better.close();
      if (link !== this.#link) return;
    }
    this.#upgradeLater();
  }

  // -- what the browser tells

  #listen() {
    const { signal } = this.#closed;
    const page = globalThis.document;
    globalThis.addEventListener?.('online', () => this.#stir(true), { signal });
    globalThis.addEventListener?.('offline', () => this.#check(), { signal });
    page?.addEventListener('visibilitychange', () => {
      if (!page.hidden) this.#stir(false);
    }, { signal });
  }

  /** Someone looks again, or the network is back: do not wait any longer. @param {boolean} moved */
  #stir(moved) {
    this.#wake();
    if (!moved && (this.#link?.idle ?? 0) < 5000) return;
    if (moved) {
      this.#attempt = 0;
      this.#upgradeDelay = this.#options.upgrade;
      if (this.#link?.isUp && this.#level > 0) this.#upgradeLater();
    }
    this.#check();
  }

  #check() {
    const seat = [...this.#seats.values()].find(({ joined }) => joined);
    if (seat && this.#link?.isUp) this.#link.check(seat.room.name, place(seat));
  }

  /** @param {number} ms @param {boolean} interruptible @returns {Promise<void>} */
  async #pause(ms, interruptible) {
    const over = new AbortController();
    this.#wake = () => (interruptible || this.#closed.signal.aborted) && over.abort();
    await sleep(ms, over.signal);
    this.#wake = () => {};
  }

  // -- frames

  /** @param {Frame} frame */
  #receive(frame) {
    const seat = this.#seats.get(frame.room ?? '');
    if (frame.type === 'ack') this.#acknowledged(frame.room ?? '', frame.id);
    else if (frame.type === 'error') this.#error(frame);
    else if (frame.type === 'left') this.#left(frame.room ?? '');
    else if (seat) {
      seat.room._receive(frame);
      if (frame.type === 'joined') {
        seat.joined = true;
        seat.resolve(seat.room);
      }
    }
  }

  /** @param {Frame} frame */
  #error({ code, text, room = '', id, retry }) {
    const error = new ChatError(code, text, retry);
    if (id !== undefined) return this.#declined(room, id, error);
    const seat = this.#seats.get(room);
    if (!room && code === 'unauthorized') this.emit('error', error);
    if (!seat || code === 'not_joined') return undefined;
    if (!error.temporary) return this.#unseat(room, error);
    if (seat.joined) return undefined;
    // The join itself: once more in a while, on whatever link there is then.
    void sleep(1000 + Math.random() * 2000, this.#closed.signal).then(() => {
      if (this.#seats.get(room) === seat && !seat.joined) this.#link?.join(room, place(seat));
    });
    return undefined;
  }

  /** The server put us out; it says why in an error that may come before or after. @param
   * {string} name */
  #left(name) {
    const seat = this.#seats.get(name);
    if (!seat?.joined) return;
    void sleep(500, this.#closed.signal).then(() => {
      if (this.#seats.get(name) !== seat) return;
      this.#unseat(name, new ChatError('forbidden', 'The server ended our stay in this room.'));
    });
  }

  /** @param {string} name @param {ChatError} error */
  #unseat(name, error) {
    const seat = this.#seats.get(name);
    this.#seats.delete(name);
    if (!seat?.joined) seat?.reject(error);
    seat?.room._end(error);
  }

  /** @param {string} name */
  #leave(name) {
    this.#seats.delete(name);
    this.#link?.leave(name);
  }

  // -- sending

  /** @param {Unsent} unsent @returns {Promise<string>} */
  async #send(unsent) {
    if (this.#closed.signal.aborted) throw closed();
    const entry = this.#outbox.add(unsent);
    this.#flush();
    return entry.promise;
  }

  /** Send what waits, one at a time in each room, which keeps their order whatever is refused. */
  #flush() {
    const busy = new Set();
    for (const entry of this.#outbox) {
      const first = !busy.has(entry.room);
      busy.add(entry.room);
      if (!this.#link?.isUp || !first || entry.flying || entry.resting) continue;
      // An answer that does not come means a connection that is not there.
      const error = new ChatError('timeout', 'A message was not acknowledged.');
      entry.flying = setTimeout(() => this.#finish({ error }), this.#options.answer + 1000);
      void this.#link.send(entry);
    }
  }

  /** @param {string} room @param {string} id */
  #acknowledged(room, id) {
    const entry = this.#outbox.get(room, id);
    if (!entry) return;
    this.#outbox.remove(entry);
    entry.resolve(id);
    this.#seats.get(room)?.room._settled(id);
    this.#flush();
  }

  /** @param {string} room @param {string} id @param {ChatError} error */
  async #declined(room, id, error) {
    const entry = this.#outbox.get(room, id);
    if (!entry) return;
    this.#outbox.rest(entry);
    if (error.temporary) {
      const ceiling = Math.min(this.#options.backoffMax, this.#options.backoff * 2 ** entry.tries);
      entry.tries = Math.min(entry.tries + 1, 20);
      entry.resting = setTimeout(() => {
        this.#outbox.rest(entry);
        this.#flush();
      }, error.retry ?? ceiling * (0.5 + Math.random() / 2));
    } else if (error.code === 'unauthorized' && this.#options.token && !entry.refused) {
      entry.refused = true;
      await this.#wire.authenticate(true).catch(() => {});
      this.#flush();
    } else {
      this.#outbox.remove(entry);
      entry.reject(error);
      this.#seats.get(room)?.room._settled(id, error);
      this.#flush();
    }
  }

  // -- state and memory

  /** @param {State['state']} state @param {{retry?: number, error?: ChatError}} [more] */
  #show(state, { retry, error } = {}) {
    const transport = state === 'online' ? this.#transports[this.#level] : null;
    const now = { state, transport, retry: retry ?? null, error: error ?? null };
    const same = JSON.stringify(now) === JSON.stringify(this.#state);
    this.#state = now;
    if (!same) this.emit('state', now);
  }

  #restore() {
    if (!this.#wire.user) return;
    this.#outbox.restore(`chatd:unsent:${this.#wire.name}:${this.#wire.user}:`);
  }

  /** @returns {Transport} */
  #remembered() {
    try {
      const name = this.#options.storage?.getItem(`chatd:transport:${this.#wire.name}`);
      return /** @type {Transport} */ (name);
    } catch {
      return this.#transports[0];
    }
  }

  /** @param {Transport} transport */
  #remember(transport) {
    try {
      this.#options.storage?.setItem(`chatd:transport:${this.#wire.name}`, transport);
    } catch {
      // Then it is found out anew next time.
    }
  }
}

function closed() {
  return new ChatError('closed', 'This chat is closed.');
}

/** @param {Seat} seat @returns {Position} where to read on */
function place({ room, start }) {
  return room.cursor ? { after: room.cursor } : start;
}

/** @param {Options} options @returns {Transport[]} */
function usable(options) {
  const found = /** @type {Transport[]} */ (['poll']);
  if ('EventSource' in globalThis && globalThis.EventSource) found.unshift('sse');
  if (options.WebSocket ?? globalThis.WebSocket) found.unshift('websocket');
  return found;
}
