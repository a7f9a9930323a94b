/** Event streams or long polls, one per room, and POST. */

import { asChatError, ChatError } from '../errors.js';
import { Deadline, sleep } from '../timing.js';
import { parse, path, read } from '../wire.js';
import { EventParser } from './events.js';
import { NO_HOOKS } from './hooks.js';

/**
 * @typedef {import('../types.js').End} End
 * @typedef {import('../types.js').Frame} Frame
 * @typedef {import('../types.js').Page} Page
 * @typedef {import('../types.js').Position} Position
 * @typedef {import('../types.js').Settings} Settings
 * @typedef {import('../types.js').Unsent} Unsent
 * @typedef {import('../wire.js').Wire} Wire
 */

/** Streams held open at once over HTTP: browsers allow six connections to a host. */
const STREAMS = 4;

/** Reading by event streams or long polls, one per room; writing by POST. */
export class HttpLink {
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

  /** @param {Wire} wire @param {Settings} options @param {boolean} streaming */
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
