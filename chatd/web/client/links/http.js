/** Reading by event streams or long polls, one per room; writing by POST. */

import { stream } from './events.js';
import { improve } from './improving.js';
import { Reader } from './reader.js';
import { Requests } from './requests.js';
import { Tabs } from './tabs.js';

/**
 * @typedef {import('../connection.js').Connection} Connection
 * @typedef {import('../errors.js').ChatError} ChatError
 * @typedef {import('../types.js').End} End
 * @typedef {import('../types.js').Frame} Frame
 * @typedef {import('../types.js').Hooks} Hooks
 * @typedef {import('../types.js').Place} Place
 * @typedef {import('../types.js').Position} Position
 * @typedef {import('../types.js').Settings} Settings
 * @typedef {import('../types.js').Unsent} Unsent
 * @typedef {import('../wire.js').Wire} Wire
 * @typedef {import('./loader.js').Kit} Kit
 * @typedef {import('./reader.js').Way} Way
 */

/** Seconds that a poll asks to wait; less where something on the way cuts it short. */
const WAIT = 25;
/** Within so many ms it is asked why a stream has ended: not by all at the same time. */
const WHY = 1000;

/**
 * Makes links, which share what the tabs of this browser have in common, and reads what is stored.
 *
 * @param {Kit} kit @param {Wire} wire @param {Settings} options
 */
export function overHttp(kit, wire, options) {
  const requests = new Requests(kit, wire, options);
  const tabs = new Tabs(wire.name, kit.hex(8), wire.closed);
  return {
    /** @param {boolean} streaming */
    make: (streaming) => new HttpLink({ ...kit, wire, requests, options, tabs, streaming }),
    /** @param {string} room @param {import('./requests.js').How} how */
    read: (room, how) => requests.read(room, how),
    /** @param {Connection} connection @param {AbortSignal} over */
    improve: (connection, over) => improve(kit, connection, over),
  };
}

/** All rooms over HTTP. */
export class HttpLink {
  /** @type {Hooks | undefined} */
  hooks;
  isUp = false;
  #heard = Date.now();
  #way;
  /** @type {Map<string, Reader>} */
  #readers = new Map();
  #ended = new AbortController();

  /** @param {Omit<Way, 'wait' | 'isUp' | 'heard'>} way */
  constructor(way) {
    const heard = () => void (this.#heard = Date.now());
    this.#way = { ...way, wait: WAIT, isUp: () => this.isUp, heard };
  }

  /** As over a WebSocket. */
  get idle() {
    return this.#way.since(this.#heard);
  }

  open() {
    this.#way.tabs.crowded = () => this.renew();
    // With no room to read, whether we are answered is all that can be known; this is no room.
    queueMicrotask(async () => {
      if (this.#readers.size) return;
      const { requests, options: { patience: timeout } } = this.#way;
      await requests.here('~', { timeout, signal: this.#ended.signal })
        .catch((error) => this.#failed('~', error));
    });
  }

  /** Whether a stream gets through at all, or a request.
   * @param {string} room @param {Position} position @returns {Promise<boolean>} */
  async works(room, { after = '' }) {
    const { options: { patience }, requests, streaming } = this.#way;
    const over = new AbortController();
    try {
      if (!streaming) return Boolean(await requests.here(room, { timeout: patience }));
      const how = { patience, signal: over.signal };
      for await (const _ of stream(this.#way, room, after, how)) return true;
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
    const body = { text, id, data, after: after || undefined };
    await this.#way.requests.messages(room, { body, signal: this.#ended.signal }).then(
      () => this.hooks?.frame({ type: 'ack', room, id }),
      (error) => this.#lost(error)
        || this.hooks?.frame({ ...refusal(error), room, id, retry: error.retry }));
  }

  /** HTTP has no way to say so. */
  typing() {}

  /** Ask with the new token. */
  renew() {
    for (const reader of this.#readers.values()) reader.restart();
  }

  /** An answer to one request does not tell that those which wait for news would hear any: they are
   * made anew. @param {Place} place */
  async check({ name }) {
    const { options: { patience: timeout }, requests } = this.#way;
    await requests.here(name, { timeout, signal: this.#ended.signal })
      .then(() => this.renew(), (error) => this.#lost(error));
  }

  close() {
    this.#ended.abort();
    for (const room of [...this.#readers.keys()]) this.leave(room);
  }

  /** @param {End} end */
  #end(end) {
    if (this.#ended.signal.aborted) return;
    this.close();
    this.hooks?.down(end);
  }

  /** End if there was no answer. @param {ChatError} error @returns {boolean} */
  #lost(error) {
    const isLost = ['network', 'timeout'].includes(error.code);
    if (isLost) this.#end({ error });
    return isLost;
  }

  #up() {
    if (this.isUp || this.#ended.signal.aborted) return;
    this.isUp = true;
    this.hooks?.up();
  }

  /** @param {string} room @param {Reader} reader */
  async #read(room, reader) {
    const { asChatError, ChatError } = this.#way;
    try {
      const frames = reader.frames();
      for (let first = true; ; first = false) {
        const { value, done } = await frames.next();
        if (reader.stopped) return;
        if (done && first) throw new ChatError('unavailable', 'The event stream was empty.');
        if (done) return await this.#ask(room, reader, value);
        this.#up();
        this.hooks?.frame(value);
      }
    } catch (error) {
      if (!reader.stopped) this.#failed(room, asChatError(error));
    } finally {
      reader.stop();
    }
  }

  /** A stream ends with the server, and also with its room or the right to it: then the others go on.
   * @param {string} room @param {Reader} reader @param {number} [retry] ms to wait */
  async #ask(room, reader, retry) {
    const { options: { patience: timeout }, requests, sleep } = this.#way;
    const { signal } = this.#ended;
    await sleep(Math.random() * Math.min(WHY, retry ?? 0), signal);
    if (reader.stopped) return;
    await requests.here(room, { timeout, signal }).then(() => this.#end({ retry }),
      (error) => reader.stopped || this.#failed(room, error, retry));
  }

  /** @param {string} room @param {ChatError} error @param {number} [retry] */
  #failed(room, error, retry = error.retry) {
    if (['forbidden', 'unknown_room', 'bad_request'].includes(error.code)) {
      this.leave(room);
      this.#up();
      this.hooks?.frame({ ...refusal(error), room });
    } else {
      this.#end({ error, retry });
    }
  }
}

/** @param {ChatError} error @returns {Frame} as it is said over a WebSocket */
function refusal({ code, message }) {
  return { type: 'error', code, text: message };
}
