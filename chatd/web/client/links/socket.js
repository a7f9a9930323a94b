/** One WebSocket for all rooms. */

import { asChatError, ChatError } from '../errors.js';
import { since, timer } from '../timing.js';
import { parse } from '../wire.js';

/**
 * @typedef {import('../types.js').End} End
 * @typedef {import('../types.js').Frame} Frame
 * @typedef {import('../types.js').Hooks} Hooks
 * @typedef {import('../types.js').Place} Place
 * @typedef {import('../types.js').Position} Position
 * @typedef {import('../types.js').Settings} Settings
 * @typedef {import('../types.js').Timer} Timer
 * @typedef {import('../types.js').Unsent} Unsent
 * @typedef {import('../wire.js').Wire} Wire
 */

const SUBPROTOCOL = 'chatd.v1';
/** Close codes that tell why, and the error each stands for. */
const CODES = /** @type {Record<number, string>} */ ({
  1009: 'too_large', 4400: 'bad_request', 4401: 'unauthorized' });

/** One WebSocket for all rooms. */
export class SocketLink {
  /** @type {Hooks | undefined} */
  hooks;
  isUp = false;
  #wire;
  #options;
  /** @type {WebSocket | undefined} */
  #socket;
  /** @type {Frame[]} what to send once welcome */
  #early = [];
  /** Runs while an answer must come. @type {Timer | undefined} */
  #timer;
  #heard = 0;
  /** @type {number | undefined} */
  #retry;
  /** @type {Map<string, string>} what each room was asked and has not answered, in order: j to join
   * it, l to leave it */
  #asked = new Map();
  /** @type {Set<string>} the rooms we are in, or are about to be */
  #in = new Set();
  /** Runs while any of that is not answered. @type {Timer | undefined} */
  #late;

  /** @param {Wire} wire @param {Settings} options */
  constructor(wire, options) {
    this.#wire = wire;
    this.#options = options;
  }

  open() {
    const Implementation = this.#options.WebSocket ?? globalThis.WebSocket;
    this.#timer = timer(() => this.#end({}), this.#options.patience);
    try {
      this.#socket = new Implementation(this.#wire.socket(), SUBPROTOCOL);
    } catch (error) {
      queueMicrotask(() => this.#end({ error: asChatError(error) }));
      return;
    }
    this.#socket.onmessage = (event) => this.#receive(parse(event.data));
    this.#socket.onclose = ({ code, reason }) => this.#end({ code,
      error: code in CODES
        ? new ChatError(CODES[code], reason || `The server closed with ${code}.`) : undefined,
      isFatal: code === 1009 || code === 4400 });
    // `close` tells all that there is to tell; but ws, under Node, throws errors nobody listens for.
    this.#socket.onerror = () => {};
  }

  /** @param {any} frame */
  #receive(frame) {
    this.#heard = Date.now();
    this.#wire.debug('received', frame);
    if (frame?.type === 'welcome') this.isUp = true;
    // Whatever it says, it is there.
    if (this.isUp) this.#timer = void clearTimeout(this.#timer);
    if (frame?.type === 'welcome') {
      this.#wire.limits = frame.limits ?? {};
      this.#early.splice(0).forEach((early) => this.#ask(early));
      this.hooks?.up(frame.user);
    } else if (frame?.type === 'bye') {
      this.#retry = Number(frame.retry) || 0;
    } else if (typeof frame?.type === 'string' && !this.#isPast(frame)) {
      this.hooks?.frame(frame);
    }
  }

  /**
   * Whether it belongs to a stay in a room that we have ended. Refusals do not say whether they are
   * for a `join` or a `leave`.
   *
   * @param {Frame} frame
   */
  #isPast({ type, room = '', id, code, text }) {
    const asked = this.#asked.get(room);
    if (type === 'left' || (type === 'error' && id === undefined)) this.#in.delete(room);
    if (!asked || type === 'ack' || (type === 'error' && id !== undefined)) return false;
    const isPast = asked.includes('l');
    if (type === 'joined') this.#expect(room, asked.replace('j', ''));
    else if (type === 'left') this.#expect(room, asked.replace('l', ''));
    else if (type !== 'error' || code === 'not_joined') return isPast;
    // We may be where we wanted to leave: only a new connection is sure to be nowhere.
    else if (isPast && code === 'rate_limited') this.#end({ error: new ChatError(code, text) });
    else if (asked[0] === 'j') this.#expect(room, asked.slice(1));
    // There is no such name to leave, nor to join.
    else return void this.#expect(room, '');
    return isPast;
  }

  /** @param {string} room @param {string} what it is to answer */
  #expect(room, what) {
    if (what) this.#asked.set(room, what);
    else this.#asked.delete(room);
    clearTimeout(this.#late);
    // An answer that does not come means a connection that is not there.
    const end = () => this.#end({ error: new ChatError('timeout', 'A room did not answer.') });
    this.#late = this.#asked.size ? timer(end, this.#options.answer) : undefined;
  }

  /** @param {End} end */
  #end(end) {
    this.close();
    this.hooks?.down({ retry: this.#retry, ...end });
  }

  /** @param {Frame} frame */
  #say(frame) {
    if (!this.isUp) return void this.#early.push(frame);
    if (this.#socket?.readyState !== 1) return undefined;
    this.#wire.debug('sent', { ...frame, token: undefined });
    return this.#socket.send(JSON.stringify(frame));
  }

  /** @param {string} room @param {Position} position */
  join(room, position) {
    this.#expect(room, `${this.#asked.get(room) ?? ''}j`);
    this.#ask({ type: 'join', room, ...position });
  }

  /** Say it, unless the server would refuse it, and end the connection if that happened often: a
   * room more than it allows. @param {Frame} frame */
  #ask(frame) {
    const { type, room = '' } = frame;
    const { rooms = Infinity } = this.#wire.limits;
    if (this.isUp && type === 'join') {
      if (!this.#in.has(room) && this.#in.size >= rooms) {
        const text = `At most ${rooms} rooms a connection; leave one first.`;
        return this.#receive({ type: 'error', code: 'bad_request', room, text });
      }
      this.#in.add(room);
    }
    return this.#say(frame);
  }

  /** @param {string} room */
  leave(room) {
    this.#expect(room, `${this.#asked.get(room) ?? ''}l`);
    this.#in.delete(room);
    this.#say({ type: 'leave', room });
  }

  /** @param {Unsent} unsent */
  send({ room, id, text, data, after }) {
    this.#say({ type: 'message', room, id, text, data, after: after || undefined });
  }

  /** @param {string} room */
  typing(room) {
    if (this.isUp) this.#say({ type: 'typing', room });
  }

  /** The wire has a new token. */
  renew() {
    this.#say({ type: 'auth', token: this.#wire.token });
  }

  get idle() {
    return since(this.#heard);
  }

  /** Ask for an answer, unless one is due, and end if none comes: joining again where we are changes
   * nothing. @param {Place} place */
  check(place) {
    if (this.#timer) return;
    this.#timer = timer(() => this.#end({}), this.#options.patience);
    if (!this.#asked.has(place.name)) this.join(place.name, place.again());
  }

  close() {
    clearTimeout(this.#timer);
    clearTimeout(this.#late);
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }
}
