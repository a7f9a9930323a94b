/** The chat: rooms and messages over a connection that mends itself. */

import { Connection } from './connection.js';
import { Emitter } from './emitter.js';
import { ChatError, closed } from './errors.js';
import { Outbox } from './outbox.js';
import { Room } from './room.js';
import { sleep } from './timing.js';
import { Wire } from './wire.js';

/**
 * @typedef {import('./types.js').Frame} Frame
 * @typedef {import('./types.js').Options} Options
 * @typedef {import('./types.js').Place} Place
 * @typedef {import('./types.js').Position} Position
 * @typedef {import('./types.js').State} State
 * @typedef {import('./types.js').Unsent} Unsent
 *
 * @typedef {object} ChatEvents
 * @property {State} state
 * @property {ChatError} error what no promise tells: no token to be had, or one refused
 *
 * @typedef {{room: Room, start: Position, joined: boolean, promise: Promise<Room>,
 *   resolve: (room: Room) => void, reject: (error: ChatError) => void}} Seat
 */

const DEFAULTS = {
  patience: 4000, answer: 20_000, silence: 60_000, backoff: 500, backoffMax: 30_000,
  upgrade: 30_000, unsent: 100,
};

/**
 * A connection to chatd that mends itself.
 *
 * @extends {Emitter<ChatEvents>}
 */
export class Chat extends Emitter {
  #options;
  #wire;
  #outbox;
  #connection;
  /** @type {Map<string, Seat>} */
  #seats = new Map();

  /**
   * @param {string | URL} url where chatd's chat page is, relative to this page
   * @param {Options} [options]
   */
  constructor(url, options = {}) {
    super();
    this.#options = { ...DEFAULTS, ...options };
    this.#wire = new Wire(url, this.#options);
    this.#outbox = new Outbox(this.#options.unsent, options.storage);
    this.#connection = new Connection(this.#wire, this.#options, {
      places: () => [...this.#seats.values()].map(place),
      joined: () => [...this.#seats.values()].filter(({ joined }) => joined).map(place)[0],
      authenticated: () => this.#restore(),
      frame: (frame) => this.#receive(frame),
      online: () => this.#flush(),
      offline: () => [...this.#outbox].forEach((entry) => this.#outbox.rest(entry)),
      refused: (error) => {
        this.emit('error', error);
        for (const [name, seat] of this.#seats) if (!seat.joined) this.#unseat(name, error);
      },
      error: (error) => this.emit('error', error),
      state: (state) => this.emit('state', state),
    });
  }

  /** Who we are; in token mode known once connected. */
  get user() {
    return this.#wire.user;
  }

  get state() {
    return this.#connection.state;
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
    if (this.#connection.closed.aborted) return Promise.reject(closed());
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
      typing: () => {
        if (this.#connection.link?.isUp) this.#connection.link.typing(name);
      },
      leave: () => this.#leave(name),
    });
    this.#seats.set(name, { room, start: position, joined: false, promise, resolve, reject });
    this.#connection.link?.join(name, position);
    this.#connection.start();
    return promise;
  }

  /** Leave all rooms and close the connection for good. Unsent messages reject. */
  close() {
    if (this.#connection.closed.aborted) return;
    this.#connection.close();
    for (const seat of this.#seats.values()) {
      seat.reject(closed());
      seat.room._end();
    }
    this.#seats.clear();
    for (const entry of this.#outbox) {
      this.#outbox.rest(entry);
      entry.reject(closed());
    }
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
    void sleep(1000 + Math.random() * 2000, this.#connection.closed).then(() => {
      if (this.#seats.get(room) !== seat || seat.joined) return;
      this.#connection.link?.join(room, place(seat).position);
    });
    return undefined;
  }

  /** The server put us out; it says why in an error that may come before or after. @param
   * {string} name */
  #left(name) {
    const seat = this.#seats.get(name);
    if (!seat?.joined) return;
    void sleep(500, this.#connection.closed).then(() => {
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
    this.#connection.link?.leave(name);
  }

  // -- sending

  /** @param {Unsent} unsent @returns {Promise<string>} */
  async #send(unsent) {
    if (this.#connection.closed.aborted) throw closed();
    const entry = this.#outbox.add(unsent);
    this.#flush();
    return entry.promise;
  }

  /** Send what waits, one at a time in each room, which keeps their order whatever is refused. */
  #flush() {
    const { link } = this.#connection;
    const busy = new Set();
    for (const entry of this.#outbox) {
      const first = !busy.has(entry.room);
      busy.add(entry.room);
      if (!link?.isUp || !first || entry.flying || entry.resting) continue;
      // An answer that does not come means a connection that is not there.
      const error = new ChatError('timeout', 'A message was not acknowledged.');
      const late = () => this.#connection.abandon(error);
      entry.flying = setTimeout(late, this.#options.answer + 1000);
      void link.send(entry);
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

  #restore() {
    if (!this.#wire.user) return;
    this.#outbox.restore(`chatd:unsent:${this.#wire.name}:${this.#wire.user}:`);
  }
}

/** @param {Seat} seat @returns {Place} */
function place({ room, start }) {
  return { room: room.name, position: room.cursor ? { after: room.cursor } : start };
}
