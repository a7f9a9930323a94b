/** One WebSocket for all rooms. */

import { asChatError, ChatError } from '../errors.js';
import { timer } from '../timing.js';
import { parse } from '../wire.js';

/**
 * @typedef {import('../types.js').End} End
 * @typedef {import('../types.js').Frame} Frame
 * @typedef {import('../types.js').Hooks} Hooks
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
  /** @type {Map<string, number>} how often each room was left and the server has not said so yet */
  #leaving = new Map();

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
      this.#early.splice(0).forEach((early) => this.#say(early));
      this.hooks?.up(frame.user);
    } else if (frame?.type === 'bye') {
      this.#retry = Number(frame.retry) || 0;
    } else if (typeof frame?.type === 'string' && !this.#isPast(frame)) {
      this.hooks?.frame(frame);
    }
  }

  /** Whether it belongs to a stay in a room that we have ended. @param {Frame} frame */
  #isPast({ type, room = '', id }) {
    const left = this.#leaving.get(room);
    if (!left || type === 'ack' || (type === 'error' && id !== undefined)) return false;
    if (type === 'left') this.#leaving.set(room, left - 1);
    return true;
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
    this.#say({ type: 'join', room, ...position });
  }

  /** @param {string} room */
  leave(room) {
    this.#leaving.set(room, (this.#leaving.get(room) ?? 0) + 1);
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
    return Date.now() - this.#heard;
  }

  /** Ask for an answer, and end if none comes: joining again where we are changes nothing.
   * @param {string} room @param {Position} position */
  check(room, position) {
    if (this.#timer) return;
    this.#timer = timer(() => this.#end({}), this.#options.patience);
    this.join(room, position);
  }

  close() {
    clearTimeout(this.#timer);
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }
}
