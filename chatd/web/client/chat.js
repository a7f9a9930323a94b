/** The chat: rooms and messages over a connection that mends itself. */

import { copy } from './content.js';
import { Connection } from './connection.js';
import { Emitter } from './emitter.js';
import { asChatError, ChatError, checkNames, closed, misspelt } from './errors.js';
import { Room } from './room.js';
import { Seat } from './seat.js';
import { Sender } from './sender.js';
import { sleep, within } from './timing.js';
import { read, Wire } from './wire.js';

/**
 * @typedef {import('./types.js').Frame} Frame
 * @typedef {import('./types.js').Options} Options
 * @typedef {import('./types.js').Patience} Patience
 * @typedef {import('./types.js').Position} Position
 * @typedef {import('./types.js').State} State
 * @typedef {import('./types.js').Unsent} Unsent
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
 * A connection to chatd that mends itself.
 *
 * @extends {Emitter<ChatEvents>}
 */
export class Chat extends Emitter {
  #wire;
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
    checkNames('option', options, OPTIONS);
    const settings = { ...DEFAULTS, ...options };
    this.#wire = new Wire(url, settings);
    this.#sender = new Sender(this.#wire, settings, {
      link: () => this.#connection.link,
      abandon: (error) => this.#connection.abandon(error),
      cursor: (room) => this.#seats.get(room)?.cursor,
      behind: (room) => this.#seats.get(room)?.isCurrent === false,
      settled: ({ room, id }, error) => {
        if (error) this.#seats.get(room)?.tell('failed', { id, error });
        else this.#seats.get(room)?.tell('sent', { id });
      },
    });
    this.#connection = new Connection(this.#wire, settings, {
      places: () => [...this.#seats.values()],
      authenticated: () => this.#restore(),
      frame: (frame) => this.#receive(frame),
      online: () => {
        this.#sender.judge();
        this.#sender.flush();
      },
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
      error: (error) => this._emit('error', error),
      state: (state) => this._emit('state', state),
    });
  }

  /** Who we are; in token mode known once connected. */
  get user() {
    return this.#wire.user;
  }

  get state() {
    return this.#connection.state;
  }

  /** What was joined and not left. @returns {Room[]} */
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
    const slip = misspelt('option of join', options, ['after', 'last', 'since', 'signal', 'timeout']);
    if (slip) return slip;
    const { signal, timeout, ...position } = options;
    /** @type {{left: boolean, leave?: () => void}} */
    const over = { left: false };
    return within(this.#enter(String(name).normalize('NFC'), position, over), { signal, timeout },
      () => {
        over.left = true;
        over.leave?.();
      });
  }

  /**
   * Connect, though nothing is joined yet; again after `disconnect`; at once if it is waiting for
   * its next try. Resolves when online, rejects if the server refuses.
   *
   * @param {Patience} [options]
   * @returns {Promise<void>}
   */
  connect(options = {}) {
    return misspelt('option of connect', options, ['signal', 'timeout'])
      ?? within(this.#connection.connect(), options);
  }

  /** Connect no more until `connect`. Rooms stay, and go on where they are then; messages wait. */
  disconnect() {
    this.#connection.disconnect();
  }

  /** Do not wait for the next try any longer. */
  tryNow() {
    this.#connection.tryNow();
  }

  /** Leave all rooms and close the connection for good. Unsent messages reject. */
  close() {
    if (this.#connection.closed.aborted) return;
    this.#connection.close();
    const seats = [...this.#seats.values()];
    this.#seats.clear();
    for (const seat of seats) seat.end();
    this.#sender.close();
  }

  // -- rooms

  /**
   * @param {string} name @param {Position} position
   * @param {{left: boolean, leave?: () => void}} over whether, and how, the caller gave up
   */
  async #enter(name, position, over) {
    if (this.#connection.closed.aborted) throw closed();
    const known = this.#seats.get(name);
    const seat = known ?? this.#sit(name, position);
    const room = this.#handle(seat);
    over.leave = () => room.leave();
    if (known) {
      // The first one's past is not ours.
      await seat.current.promise;
      if (!over.left) await room._load(position);
    } else {
      seat.handles.add(room);
      this.#connection.link?.join(name, position);
      this.#connection.start();
      await seat.entered.promise;
    }
    return room;
  }

  /** @param {string} name @param {Position} position */
  #sit(name, position) {
    const seat = new Seat(name, position, {
      message: ({ user, id }) => {
        // To read our own message is to know that it is stored.
        if (user === this.user) this.#sender.acknowledged(name, id);
      },
      current: () => this.#sender.flush(),
    });
    this.#seats.set(name, seat);
    return seat;
  }

  /** @param {Seat} seat */
  #handle(seat) {
    const { name } = seat;
    seat.wanted += 1;
    return new Room(seat, {
      history: async (query, signal) => {
        await this.#wire.authenticate();
        return read(this.#wire, name, { query: /** @type {any} */ (query), signal });
      },
      send: (unsent) => this.#send(unsent),
      forget: (unsent, reason) => this.#sender.forget(unsent, reason),
      unsent: () => this.#sender.unsent(name),
      typing: () => {
        if (this.#connection.link?.isUp) this.#connection.link.typing(name);
      },
      leave: (room) => {
        seat.handles.delete(room);
        seat.wanted -= 1;
        if (seat.wanted || this.#seats.get(name) !== seat) return;
        this.#seats.delete(name);
        seat.end();
        this.#connection.link?.leave(name);
      },
    });
  }

  /** @param {Seat} seat @param {ChatError} error */
  #unseat(seat, error) {
    this.#seats.delete(seat.name);
    seat.end(error);
  }

  /** @param {Unsent} unsent */
  #send(unsent) {
    if (this.#connection.closed.aborted) throw closed();
    try {
      unsent.data = copy(unsent.data);
      return this.#sender.send(unsent);
    } catch (error) {
      const { room, id } = unsent;
      const failed = { id, error: asChatError(error) };
      queueMicrotask(() => this.#seats.get(room)?.tell('failed', failed));
      throw error;
    }
  }

  #restore() {
    if (this.user) this.#sender.restore(`chatd:unsent:${this.#wire.name}:${this.user}:`);
  }

  // -- frames

  /** @param {Frame} frame */
  #receive(frame) {
    const seat = this.#seats.get(frame.room ?? '');
    if (frame.type === 'ack') this.#sender.acknowledged(frame.room ?? '', frame.id);
    else if (frame.type === 'error') this.#error(frame, seat);
    else if (frame.type === 'left') this.#left(seat);
    else seat?.receive(frame);
  }

  /** @param {Frame} frame @param {Seat | undefined} seat */
  #error({ code, text, room, id, retry }, seat) {
    const error = new ChatError(code, text, retry);
    if (room === undefined && id === undefined) {
      // A refusal that names nothing is for the only message on its way.
      const { alone } = this.#sender;
      if (alone && code !== 'unauthorized') [room, id] = [alone.room, alone.id];
      else this._emit('error', error);
    }
    if (id !== undefined) void this.#sender.declined(room ?? '', id, error);
    else if (seat && code !== 'not_joined') this.#refused(seat, error);
  }

  /** @param {Seat} seat @param {ChatError} error */
  #refused(seat, error) {
    if (!error.temporary) return this.#unseat(seat, error);
    if (seat.state.state === 'joined') return undefined;
    // The join itself: once more in a while, on whatever link there is then.
    void sleep(1000 + Math.random() * 2000, this.#connection.closed).then(() => {
      if (this.#seats.get(seat.name) !== seat || seat.state.state === 'joined') return;
      this.#connection.link?.join(seat.name, seat.position);
    });
    return undefined;
  }

  /** The server put us out; it says why in an error that may come before or after.
   * @param {Seat | undefined} seat */
  #left(seat) {
    if (seat?.state.state !== 'joined') return;
    void sleep(500, this.#connection.closed).then(() => {
      if (this.#seats.get(seat.name) !== seat) return;
      this.#unseat(seat, new ChatError('forbidden', 'The server ended our stay in this room.'));
    });
  }
}
