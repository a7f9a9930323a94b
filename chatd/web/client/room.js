/** A room that we are in. */

import { call, Emitter } from './emitter.js';
import { Feed, FEED } from './feed.js';
import { key, newId, read } from './wire.js';

/**
 * @typedef {import('./errors.js').ChatError} ChatError
 * @typedef {import('./types.js').Frame} Frame
 * @typedef {import('./types.js').Message} Message
 * @typedef {import('./types.js').Page} Page
 * @typedef {import('./types.js').Position} Position
 * @typedef {import('./types.js').Presence} Presence
 * @typedef {import('./types.js').Unsent} Unsent
 * @typedef {import('./wire.js').Wire} Wire
 */

/** Ids remembered per room to drop repetitions: the server's own window. */
const WINDOW = 1000;

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
