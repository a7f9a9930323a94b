/** A room that was joined. */

import { call, Emitter } from './emitter.js';
import { asChatError, closed } from './errors.js';
import { Feed, FEED } from './feed.js';
import { ceiling, patiently, since, sleep } from './timing.js';
import { newId } from './wire.js';

/**
 * @typedef {import('./errors.js').ChatError} ChatError
 * @typedef {import('./seat.js').Seat} Seat
 * @typedef {import('./types.js').Message} Message
 * @typedef {import('./types.js').Page} Page
 * @typedef {import('./types.js').Patience} Patience
 * @typedef {import('./types.js').Position} Position
 * @typedef {import('./types.js').Presence} Presence
 * @typedef {import('./types.js').RoomState} RoomState
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
 * @property {import('./wire.js').Wire} wire
 * @property {import('./types.js').Settings} options
 * @property {import('./sender.js').Sender} sender
 * @property {() => Promise<{read: (room: string, how: object) => Promise<Page>}>} http
 * @property {() => void} typing
 * @property {() => void} leave
 */

const EVENTS = ['message', 'presence', 'typing', 'gap', 'sent', 'failed', 'state', 'recovered',
  'closed'];
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
  /** @type {Map<unknown, {feed: Feed, heard: (message: Message) => void}>} of the listeners to
   * messages, and how each is called */
  #pumps = new Map();
  /** @type {Message[]} what later readers begin with: all messages, or the first if they are many */
  #kept = [];
  /** @type {string | null} the cursor from which they then read on from the server */
  #behind = null;
  #typed = 0;
  #gap = false;
  /** @type {{error?: ChatError} | null} */
  #ended = null;
  /** Ends what is read for readers. */
  #over = new AbortController();

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
    return this.#gap;
  }

  /** @returns {RoomState} */
  get state() {
    return this.#ended ? { state: 'closed', error: this.#ended.error ?? null } : this.#seat.state;
  }

  /** Our messages that are not acknowledged, restored ones included, oldest first. */
  get unsent() {
    return this.#desk.sender.unsent(this.name);
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
    this.#typed = 0;
    return patiently('send', more, ['id', 'data'], ({ id = newId(), data }, over) => {
      const unsent = { room: this.name, id, text, data, at: Date.now() };
      over.addEventListener('abort', () => this.#desk.sender.forget(unsent, over.reason));
      return this.#desk.sender.send(unsent);
    });
  }

  /** Tell the others that we are typing; call it at each key, it is passed on now and then. */
  typing() {
    if (since(this.#typed) < TYPING) return;
    this.#typed = Date.now();
    this.#desk.typing();
  }

  /** Leave; iteration ends. Other handles to the room stay. */
  leave() {
    if (this.#ended) return;
    this._end();
    this.#desk.leave();
  }

  /**
   * Stored messages, oldest first: from a position on, or those `before` a cursor.
   *
   * @param {Position & {before?: string, limit?: number} & Patience} query limit is 100 by
   *   default, at most 1000
   * @returns {Promise<Page>}
   */
  history(query) {
    return patiently('history', query, ['after', 'last', 'since', 'before', 'limit'],
      async (rest, signal) => {
        const { http, wire } = this.#desk;
        const [{ read }] = await Promise.all([http(), wire.authenticate()]);
        const { token } = wire;
        try {
          return await read(this.name, { query: rest, signal });
        } catch (error) {
          if (asChatError(error).code !== 'unauthorized' || !token) throw error;
          if (token === wire.token) await wire.authenticate(true);
          return read(this.name, { query: rest, signal });
        }
      });
  }

  /**
   * Up to `count` messages that precede `message`, oldest first; none if it is the oldest kept.
   *
   * @param {Message} message @param {number} [count]
   * @returns {Promise<Message[]>}
   */
  async before(message, count = 100) {
    return (await this.history({ before: message.cursor, limit: count })).messages;
  }

  /** @returns {AsyncIterator<Message, undefined>} */
  [Symbol.asyncIterator]() {
    const feed = this.#newFeed();
    const messages = feed.messages();
    return {
      next: () => messages.next(),
      return: () => {
        this.#drop(feed);
        return messages.return(undefined);
      },
    };
  }

  /**
   * @template {keyof RoomEvents} Name
   * @param {Name} name @param {(value: RoomEvents[Name]) => void} listener
   */
  off(name, listener) {
    super.off(name, listener);
    const pump = name === 'message' && this.#pumps.get(listener);
    if (!pump) return;
    this.#pumps.delete(listener);
    this.#drop(pump.feed);
  }

  /**
   * @param {string} name @param {Function} listener @param {(value: any) => void} heard
   * @protected
   */
  _listen(name, listener, heard) {
    const end = super._listen(name, listener, heard);
    if (name !== 'message') return end;
    const known = this.#pumps.get(listener);
    // As for other events, what was said last counts: `once`, or `on`.
    if (known) known.heard = heard;
    if (known) return end;
    const pump = { feed: this.#newFeed(), heard };
    this.#pumps.set(listener, pump);
    // The room's end is told by `closed`.
    this.#pump(pump).catch(() => {});
    return end;
  }

  /** @param {{feed: Feed, heard: (message: Message) => void}} pump */
  async #pump(pump) {
    for await (const message of pump.feed.messages()) call(pump.heard, message);
  }

  #newFeed() {
    const feed = new Feed((after) => this.#page({ after, limit: FEED }), () => this.#seat.told,
      this.#kept, this.#behind);
    this.#feeds.add(feed);
    if (this.#ended) feed.end(this.#ended.error);
    return feed;
  }

  /** @param {Feed} feed */
  #drop(feed) {
    this.#feeds.delete(feed);
    feed.end();
  }

  /** Begin with what lies at `position` in a room that others have joined before: what follows on it
   * may have come live, though the server does not tell it yet. @param {Position} position @package */
  async _load(position) {
    this.#seat.handles.add(this);
    if (!Object.keys(position).length) return;
    const { messages, cursor } = await this.#page({ ...position, limit: position.last ?? 1 });
    if (messages.length) this.#startAt(messages[0]);
    else if (position.after) [this.#behind, this.#kept] = [cursor, []];
  }

  /** As `history`, for readers, who are told of a gap and wait for what cannot be had now.
   * @param {Position & {limit: number}} query @param {number} [failures] so far
   * @returns {Promise<Page>} */
  async #page(query, failures = 0) {
    try {
      const page = await this.history({ ...query, signal: this.#over.signal });
      if (page.gap) this._gapped(page.messages.length ? null : page.cursor);
      return page;
    } catch (error) {
      const { code, temporary, retry } = asChatError(error);
      // For a token that is refused the connection gets another.
      if (!temporary && code !== 'unauthorized') throw error;
      const wait = retry ?? ceiling(this.#desk.options, failures) * (0.5 + Math.random() / 2);
      if (!await sleep(wait, this.#over.signal)) throw this.#over.signal.reason;
      return this.#page(query, Math.min(failures + 1, 2));
    }
  }

  /** @param {string | null} cursor where it ends @package */
  _gapped(cursor) {
    this.#gap = true;
    this._emit('gap', { cursor });
  }

  /** @param {Message} message @package */
  _push(message) {
    if (this.#behind === null && this.#kept.push(message) > FEED) this.#startAt(this.#kept[0]);
    for (const feed of this.#feeds) feed.push(message);
  }

  /** Later readers begin with `first`, and read on from the server. @param {Message} first */
  #startAt(first) {
    this.#behind = first.cursor;
    this.#kept = [first];
  }

  /** @param {ChatError} [error] @package */
  _end(error) {
    if (this.#ended) return;
    this.#ended = { error };
    this.#over.abort(error ?? closed());
    for (const feed of this.#feeds) feed.end(error);
    if (error) this._emit('closed', error);
  }
}
