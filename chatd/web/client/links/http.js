/** Reading by event streams or long polls, one per room; writing by POST. */

import { asChatError, ChatError } from '../errors.js';
import { path } from '../wire.js';
import { stream } from './events.js';
import { NO_HOOKS } from './hooks.js';
import { Reader } from './reader.js';

/**
 * @typedef {import('../types.js').End} End
 * @typedef {import('../types.js').Position} Position
 * @typedef {import('../types.js').Settings} Settings
 * @typedef {import('../types.js').Unsent} Unsent
 * @typedef {import('../wire.js').Wire} Wire
 * @typedef {import('./tabs.js').Tabs} Tabs
 */

/** Seconds that a poll asks to wait; less where something on the way cuts it short. */
const WAIT = 25;

/** All rooms over HTTP. */
export class HttpLink {
  hooks = NO_HOOKS;
  isUp = false;
  idle = 0;
  #way;
  /** @type {Map<string, Reader>} */
  #readers = new Map();
  #ended = new AbortController();

  /** @param {Wire} wire @param {Settings} options @param {boolean} streaming @param {Tabs} tabs */
  constructor(wire, options, streaming, tabs) {
    this.#way = { wire, options, tabs, streaming, wait: WAIT, isUp: () => this.isUp };
  }

  open() {
    this.#way.tabs.crowded = () => this.renew();
    // With no room to read, whether the server answers is all that can be known.
    queueMicrotask(async () => {
      if (this.#readers.size) return;
      const { wire, options: { patience: timeout } } = this.#way;
      await wire.request('healthz', { timeout, signal: this.#ended.signal })
        .then(() => this.#up(), (error) => this.#end({ error }));
    });
  }

  /** Whether a stream gets through at all, or a request.
   * @param {string} room @param {Position} position @returns {Promise<boolean>} */
  async works(room, { after = '' }) {
    const { wire, options: { patience }, streaming } = this.#way;
    const over = new AbortController();
    try {
      if (!streaming) return Boolean(await wire.request(path(room), { timeout: patience }));
      const how = { patience, signal: over.signal };
      for await (const _ of stream(wire, room, after, how)) return true;
    } catch {
      // Then not.
    } finally {
      over.abort();
    }
    return false;
  }

  /** @param {string} room @param {Position} position */
  join(room, position) {
    this.leave(room);
    const reader = new Reader(this.#way, room, position);
    this.#readers.set(room, reader);
    void this.#read(room, reader);
  }

  /** @param {string} room */
  leave(room) {
    this.#readers.get(room)?.stop();
    this.#readers.delete(room);
  }

  /** @param {Unsent} unsent */
  async send({ room, id, text, data, after }) {
    try {
      const body = { text, id, data, after: after || undefined };
      await this.#way.wire.request(`${path(room)}/messages`, { body, signal: this.#ended.signal });
      this.hooks.frame({ type: 'ack', room, id });
    } catch (error) {
      const { code, message, retry } = asChatError(error);
      if (code === 'network' || code === 'timeout') this.#end({ error: asChatError(error) });
      else this.hooks.frame({ type: 'error', code, text: message, room, id, retry });
    }
  }

  /** HTTP has no way to say so. */
  typing() {}

  /** Ask with the new token. */
  renew() {
    for (const reader of this.#readers.values()) reader.restart();
  }

  /** @param {string} room */
  async check(room) {
    try {
      const { wire, options: { patience: timeout } } = this.#way;
      await wire.request(path(room), { timeout, signal: this.#ended.signal });
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
    if (this.isUp || this.#ended.signal.aborted) return;
    this.isUp = true;
    this.hooks.up();
  }

  /** @param {string} room @param {Reader} reader */
  async #read(room, reader) {
    try {
      const frames = reader.frames();
      for (let first = true; ; first = false) {
        const { value, done } = await frames.next();
        if (reader.stopped) return;
        if (done && first) throw new ChatError('unavailable', 'The event stream was empty.');
        if (done) return this.#end({ retry: value });
        this.#up();
        this.hooks.frame(value);
      }
    } catch (error) {
      if (!reader.stopped) this.#failed(room, asChatError(error));
    } finally {
      reader.stop();
    }
  }

  /** @param {string} room @param {ChatError} error */
  #failed(room, error) {
    if (['forbidden', 'unknown_room', 'bad_request'].includes(error.code)) {
      this.leave(room);
      this.#up();
      this.hooks.frame({ type: 'error', code: error.code, text: error.message, room });
    } else {
      this.#end({ error, retry: error.retry });
    }
  }
}
