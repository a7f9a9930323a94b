/** The chat: rooms and messages over a connection that reconnects by itself. */

import { Connection } from './connection.js';
import { roomName } from './content.js';
import { Emitter } from './emitter.js';
import { ChatError, checkNames, closed } from './errors.js';
import { Room } from './room.js';
import { Seat } from './seat.js';
import { Sender } from './sender.js';
import { patiently, sleep } from './timing.js';
import { Wire } from './wire.js';

/**
 * @typedef {import('./types.js').Frame} Frame
 * @typedef {import('./types.js').Options} Options
 * @typedef {import('./types.js').Patience} Patience
 * @typedef {import('./types.js').Position} Position
 * @typedef {import('./types.js').State} State
 *
 * @typedef {object} ChatEvents
 * @property {State} state
 * @property {ChatError} error what no promise tells: no token to be had, or one refused
 */

const DEFAULTS = {
  patience: 4000, answer: 20_000, silence: 60_000, backoff: 500, backoffMax: 30_000,
  upgrade: 30_000, unsent: 100,
};
const OPTIONS = [...Object.keys(DEFAULTS), 'user', 'token', 'storage', 'transports', 'WebSocket',
  'fetch', 'debug'];

/**
 * A connection to chatd that reconnects by itself.
 *
 * @extends {Emitter<ChatEvents>}
 */
export class Chat extends Emitter {
  #wire;
  #options;
  #sender;
  #connection;
  /** @type {Map<string, Seat>} */
  #seats = new Map();

  /**
   * @param {string | URL} url where chatd's chat page is, relative to this page
   * @param {Options} [options]
   */
  constructor(url, options = {}) {
    super(['state', 'error']);
    checkNames('option', Object.keys(options), OPTIONS);
    const settings = this.#options = { ...DEFAULTS, ...options };
    this.#wire = new Wire(url, settings);
    this.#connection = new Connection(this.#wire, settings, {
      places: () => [...this.#seats.values()],
      frame: (frame) => this.#receive(frame),
      online: () => this.#sender.begin(),
      offline: (end) => {
        for (const seat of this.#seats.values()) seat.away();
        this.#sender.lost(end);
      },
      refused: (error) => {
        this._emit('error', error);
        for (const seat of this.#seats.values()) {
          if (!seat.hasEntered) this.#unseat(seat, error);
        }
      },
      tell: this._emit,
    });
    this.#sender = new Sender(this.#wire, settings, this.#connection,
      (room) => this.#seats.get(room));
  }

  /** Our user name; in token mode known once connected. */
  get user() {
    return this.#wire.user;
  }

  get state() {
    return this.#connection.state;
  }

  /** The handles of rooms that were not left. @returns {Room[]} */
  get rooms() {
    return [...this.#seats.values()].flatMap(({ handles }) => [...handles]);
  }

  /**
   * Join a room. Resolves once the server has let us in, however long it takes to reach it;
   * rejects with a ChatError if it refuses. Each call gives a handle of its own, to be left by
   * itself.
   *
   * @param {string} name
   * @param {Position & Patience} [options]
   * @returns {Promise<Room>}
   */
  join(name, options = {}) {
    return patiently('join', options, ['after', 'last', 'since'],
      (position, over) => this.#enter(roomName(name), position, over));
  }

  /**
   * Connect, though nothing is joined yet; again after `disconnect`; at once if it is waiting for
   * its next try. Resolves when online, rejects if the server refuses.
   *
   * @param {Patience} [options]
   * @returns {Promise<void>}
   */
  connect(options = {}) {
    return patiently('connect', options, [], () => this.#connection.connect());
  }

  /** Disconnect until `connect` is called. Rooms resume then, and messages are kept to be sent. */
  disconnect() {
    this.#connection.disconnect();
  }

  /** Try to connect now, if the connection waits for its next try. */
  tryNow() {
    this.#connection.tryNow();
  }

  /** Leave all rooms and close the connection for good. `send` of unsent messages rejects. */
  close() {
    if (this.#connection.closed.aborted) return;
    this.#connection.close();
    for (const seat of this.#seats.values()) this.#unseat(seat);
    this.#sender.close();
  }

  // -- rooms

  /** @param {string} name @param {Position} position @param {AbortSignal} over given up */
  async #enter(name, position, over) {
    if (this.#connection.closed.aborted) throw closed();
    const known = this.#seats.get(name);
    const seat = known ?? new Seat(name, position, () => this.#sender.flush());
    this.#seats.set(name, seat);
    seat.wanted += 1;
    const room = new Room(seat, {
      wire: this.#wire,
      options: this.#options,
      sender: this.#sender,
      http: () => this.#connection.links.http(),
      typing: () => this.#connection.link?.typing(name),
      leave: () => this.#leave(seat, room),
    });
    over.addEventListener('abort', () => room.leave());
    if (known) {
      // The first one's past is not ours.
      try {
        await seat.current.promise;
        if (!over.aborted) await room._load(position);
      } catch (error) {
        room.leave();
        throw error;
      }
    } else {
      seat.handles.add(room);
      this.#connection.link?.join(name, position);
      this.#connection.start();
      await seat.entered.promise;
    }
    return room;
  }

  /** @param {Seat} seat @param {Room} room */
  #leave(seat, room) {
    seat.handles.delete(room);
    seat.wanted -= 1;
    if (seat.wanted || this.#seats.get(seat.name) !== seat) return;
    this.#unseat(seat);
    this.#connection.link?.leave(seat.name);
  }

  /** @param {Seat} seat @param {ChatError} [error] */
  #unseat(seat, error) {
    this.#seats.delete(seat.name);
    seat.end(error);
  }

  // -- frames

  /** @param {Frame} frame */
  #receive(frame) {
    const { type, room = '', id, user } = frame;
    const seat = this.#seats.get(room);
    // To read our own message is to know that it is stored.
    const isStored = type === 'ack' || (type === 'message' && user === this.user);
    if (type === 'error') this.#error(frame, seat);
    else if (type === 'left') void this.#left(seat);
    else seat?.receive(frame);
    if (isStored) this.#sender.acknowledged({ room, id });
  }

  /** @param {Frame} frame @param {Seat | undefined} seat */
  #error({ code, text, room = '', id, retry }, seat) {
    const error = new ChatError(code, text, retry);
    // A refusal that names nothing is for the only message on its way.
    const unnamed = room || code === 'unauthorized' ? undefined : this.#sender.alone;
    const which = id === undefined ? unnamed : { room, id };
    if (which) void this.#sender.declined(which, error);
    else if (!room) this._emit('error', error);
    else if (seat && code !== 'not_joined') void this.#refused(seat, error);
  }

  /** @param {Seat} seat @param {ChatError} error */
  async #refused(seat, error) {
    if (!error.temporary) return this.#unseat(seat, error);
    if (seat.isJoined) return;
    // The join itself: once more in a while, on whatever link there is then.
    await sleep(1000 + Math.random() * 2000, this.#connection.closed);
    if (this.#seats.get(seat.name) !== seat || seat.isJoined) return;
    this.#connection.link?.join(seat.name, seat.position);
  }

  /** The server put us out; it says why in an error that may come before or after. We may be in it
   * again by then. @param {Seat | undefined} seat */
  async #left(seat) {
    const stay = seat?.state;
    if (!seat?.isJoined) return;
    await sleep(500, this.#connection.closed);
    if (seat.state !== stay) return;
    this.#unseat(seat, new ChatError('forbidden', 'The server ended our stay.'));
  }
}
