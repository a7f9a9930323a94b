/** A room that we are in. */

import { call, Emitter } from './emitter.js';
import { misspelt } from './errors.js';
import { Feed, FEED } from './feed.js';
import { within } from './timing.js';
import { key, newId } from './wire.js';

/**
 * @typedef {import('./errors.js').ChatError} ChatError
 * @typedef {import('./seat.js').Seat} Seat
 * @typedef {import('./types.js').Message} Message
 * @typedef {import('./types.js').Page} Page
 * @typedef {import('./types.js').Patience} Patience
 * @typedef {import('./types.js').Position} Position
 * @typedef {import('./types.js').Presence} Presence
 * @typedef {import('./types.js').RoomState} RoomState
 * @typedef {import('./types.js').Unsent} Unsent
 *
 * @typedef {object} RoomEvents
 * @property {Message} message each message once, in order
 * @property {Presence} presence
 * @property {{user: string}} typing
 * @property {{cursor: string | null}} gap messages before the next one are no longer kept
 * @property {{id: string}} sent a message of ours is acknowledged
 * @property {{id: string, error: ChatError}} failed a message of ours is refused for good
 * @property {RoomState} state
 * @property {{count: number, gap: boolean}} recovered back after an interruption: so many messages
 *   were read that had been missed, and whether some are lost
 * @property {ChatError} closed the room is gone, or the right to it
 *
 * @typedef {object} Desk What a room asks of its chat.
 * @property {(query: object, signal: AbortSignal) => Promise<Page>} history
 * @property {(unsent: Unsent) => Promise<string>} send
 * @property {(unsent: Unsent, reason: unknown) => void} forget
 * @property {() => Unsent[]} unsent
 * @property {() => void} typing
 * @property {(room: Room) => void} leave
 */

const EVENTS = ['message', 'presence', 'typing', 'gap', 'sent', 'failed', 'state', 'recovered',
  'closed'];
const WAITING = ['signal', 'timeout'];
/** Milliseconds between two tellings that we type. */
const TYPING = 3000;

/**
 * A room that we are in; each `Chat.join` makes one. `for await` gives its messages, and so does
 * `on('message')`; each of these gets them from where one joined.
 *
 * @extends {Emitter<RoomEvents>}
 */
export class Room extends Emitter {
  #seat;
  #desk;
  /** @type {Set<Feed>} */
  #feeds = new Set();
  /** @type {Map<unknown, Feed>} of the listeners to messages */
  #pumps = new Map();
  /** @type {Message[]} what later readers begin with: all messages, or the first if they are many */
  #kept = [];
  #isWhole = true;
  #typed = 0;
  /** @type {{error?: ChatError} | null} */
  #ended = null;

  /** @param {Seat} seat @param {Desk} desk @package */
  constructor(seat, desk) {
    super(EVENTS);
    this.#seat = seat;
    this.#desk = desk;
  }

  get name() {
    return this.#seat.name;
  }

  /** Who is here, sorted. */
  get members() {
    return this.#seat.members;
  }

  /** How many are here. */
  get count() {
    return this.#seat.count;
  }

  /** Where we are: `{after: cursor}` goes on behind the last message. */
  get cursor() {
    return this.#seat.cursor;
  }

  /** Whether messages asked for are no longer kept. */
  get gap() {
    return this.#seat.gap;
  }

  /** @returns {RoomState} */
  get state() {
    return this.#ended ? { state: 'closed', error: this.#ended.error ?? null } : this.#seat.state;
  }

  /** Our messages that are not acknowledged, restored ones included, oldest first. */
  get unsent() {
    return this.#desk.unsent();
  }

  /**
   * Send a message; resolves with its id once the server has stored it. Offline it waits and is
   * sent later, under the same id. Rejects with a ChatError if it cannot be stored. Given up
   * (`signal`, `timeout`) it is not sent any more; on its way it may arrive all the same.
   *
   * @param {string} text
   * @param {{id?: string, data?: Record<string, unknown>} & Patience} [more]
   * @returns {Promise<string>}
   */
  send(text, more = {}) {
    const slip = misspelt('option of send', more, ['id', 'data', ...WAITING]);
    if (slip) return slip;
    const { id = newId(), data, ...patience } = more;
    const unsent = { room: this.name, id, text, data, at: Date.now() };
    this.#typed = 0;
    return within((async () => this.#desk.send(unsent))(), patience,
      (reason) => this.#desk.forget(unsent, reason));
  }

  /** Tell the others that we are typing; call it at each key, it is passed on now and then. */
  typing() {
    if (Date.now() - this.#typed < TYPING) return;
    this.#typed = Date.now();
    this.#desk.typing();
  }

  /** Leave; iteration ends. Other handles to the room stay. */
  leave() {
    this._end();
    this.#desk.leave(this);
  }

  /**
   * Stored messages, oldest first: from a position on, or those `before` a cursor.
   *
   * @param {Position & {before?: string, limit?: number} & Patience} query limit is 100 by
   *   default, at most 1000
   * @returns {Promise<Page>}
   */
  history(query) {
    const slip = misspelt('option of history', query,
      ['after', 'last', 'since', 'before', 'limit', ...WAITING]);
    if (slip) return slip;
    const { signal, timeout, ...rest } = query;
    const over = new AbortController();
    return within(this.#desk.history(rest, over.signal), { signal, timeout }, () => over.abort());
  }

  /**
   * Up to `count` messages that precede `message`, oldest first; none if it is the oldest kept.
   *
   * @param {Message} message
   * @param {number} [count]
   * @returns {Promise<Message[]>}
   */
  async before(message, count = 100) {
    return (await this.history({ before: message.cursor, limit: count })).messages;
  }

  /** @returns {AsyncIterator<Message, undefined>} */
  [Symbol.asyncIterator]() {
    const feed = this.#newFeed();
    return {
      next: () => feed.next(),
      return: async () => {
        this.#drop(feed);
        return { value: undefined, done: true };
      },
    };
  }

  /**
   * @template {keyof RoomEvents} Name
   * @param {Name} name @param {(value: RoomEvents[Name]) => void} listener
   */
  off(name, listener) {
    super.off(name, listener);
    const feed = name === 'message' && this.#pumps.get(listener);
    if (!feed) return;
    this.#pumps.delete(listener);
    this.#drop(feed);
  }

  /**
   * @param {string} name @param {Function} listener @param {(value: any) => void} heard
   * @protected
   */
  _listen(name, listener, heard) {
    const end = super._listen(name, listener, heard);
    if (name !== 'message' || this.#pumps.has(listener)) return end;
    const feed = this.#newFeed();
    this.#pumps.set(listener, feed);
    // The room's end is told by `closed`.
    this.#pump(feed, heard).catch(() => {});
    return end;
  }

  /** @param {Feed} feed @param {(value: any) => void} heard */
  async #pump(feed, heard) {
    for (;;) {
      const { value, done } = await feed.next();
      if (done) return;
      call(heard, value);
    }
  }

  #newFeed() {
    const feed = new Feed((after) => this.history({ after, limit: FEED }), this.#kept,
      this.#isWhole);
    this.#feeds.add(feed);
    if (this.#ended) feed.end(this.#ended.error);
    return feed;
  }

  /** @param {Feed} feed */
  #drop(feed) {
    this.#feeds.delete(feed);
    feed.stop();
  }

  /** Begin with what lies at `position` in a room that others have joined before.
   * @param {Position} position @package */
  async _load(position) {
    this.#seat.handles.add(this);
    if (!Object.keys(position).length) return;
    /** @type {Map<string, Message>} */
    const past = new Map();
    const meets = () => this.#kept.some((message) => past.has(key(message)));
    let page = await this.history({ ...position, limit: FEED });
    if (page.gap) this._emit('gap', { cursor: page.cursor });
    // A page may be short because its messages are long: only an empty one is the last.
    while (page.messages.length && past.size < FEED && !meets()) {
      for (const message of page.messages) past.set(key(message), message);
      page = await this.history({ after: page.cursor, limit: FEED });
    }
    for (const message of this.#kept) past.set(key(message), message);
    this.#kept = [...past.values()];
    if (past.size > FEED) this.#shorten();
  }

  /** @param {Message} message @package */
  _push(message) {
    this.#keep(message);
    for (const feed of this.#feeds) feed.push(message);
  }

  /** @param {Message} message */
  #keep(message) {
    if (this.#isWhole && this.#kept.push(message) > FEED) this.#shorten();
  }

  #shorten() {
    this.#isWhole = false;
    this.#kept.length = 1;
  }

  /** @param {ChatError} [error] @package */
  _end(error) {
    if (this.#ended) return;
    this.#ended = { error };
    for (const feed of this.#feeds) feed.end(error);
    if (error) this._emit('closed', error);
  }
}
