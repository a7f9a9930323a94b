/** One WebSocket for all rooms. */

import { asChatError, ChatError } from '../errors.js';
import { LONGEST_RETRY, parse } from '../wire.js';
import { NO_HOOKS } from './hooks.js';

/**
 * @typedef {import('../types.js').End} End
 * @typedef {import('../types.js').Frame} Frame
 * @typedef {import('../types.js').Position} Position
 * @typedef {import('../types.js').Settings} Settings
 * @typedef {import('../types.js').Timer} Timer
 * @typedef {import('../types.js').Unsent} Unsent
 * @typedef {import('../wire.js').Wire} Wire
 */

const SUBPROTOCOL = 'chatd.v1';

/** One WebSocket for all rooms. */
export class SocketLink {
  hooks = NO_HOOKS;
  isUp = false;
  #wire;
  #options;
  /** @type {WebSocket | undefined} */
  #socket;
  /** @type {string[]} what to send once welcome */
  #early = [];
  /** @type {Timer | undefined} */
  #timer;
  #heard = 0;
  #checking = false;
  /** @type {number | undefined} */
  #retry;

  /** @param {Wire} wire @param {Settings} options */
  constructor(wire, options) {
    this.#wire = wire;
    this.#options = options;
  }

  open() {
    const Implementation = this.#options.WebSocket ?? globalThis.WebSocket;
    this.#timer = setTimeout(() => this.#end({}), this.#options.patience);
    try {
      this.#socket = new Implementation(this.#wire.socket(), SUBPROTOCOL);
    } catch (error) {
      queueMicrotask(() => this.#end({ error: asChatError(error) }));
      return;
    }
    this.#socket.onmessage = (event) => this.#receive(parse(event.data));
    this.#socket.onclose = (event) => this.#end(event.code === 4401
      ? { error: new ChatError('unauthorized', event.reason || 'The token has expired.') } : {});
  }

  /** @param {any} frame */
  #receive(frame) {
    this.#heard = Date.now();
    this.#checking = false;
    if (frame?.type === 'welcome') {
      if (!this.isUp) clearTimeout(this.#timer);
      this.isUp = true;
      this.#early.splice(0).forEach((text) => this.#socket?.send(text));
      this.hooks.up(frame.user);
    } else if (frame?.type === 'bye') {
      this.#retry = Math.min(Number(frame.retry) || 0, LONGEST_RETRY);
    } else if (typeof frame?.type === 'string') {
      this.hooks.frame(frame);
    }
  }

  /** @param {End} end */
  #end(end) {
    this.close();
    this.hooks.down({ retry: this.#retry, ...end });
  }

  /** @param {Frame} frame */
  #say(frame) {
    if (!this.isUp) this.#early.push(JSON.stringify(frame));
    else if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(frame));
  }

  /** @param {string} room @param {Position} position */
  join(room, position) {
    this.#say({ type: 'join', room, ...position });
  }

  /** @param {string} room */
  leave(room) {
    this.#say({ type: 'leave', room });
  }

  /** @param {Unsent} unsent */
  send({ room, id, text, data }) {
    this.#say({ type: 'message', room, id, text, data });
  }

  /** @param {string} room */
  typing(room) {
    this.#say({ type: 'typing', room });
  }

  /** The wire has a new token. */
  renew() {
    this.#say(this.#wire.auth());
  }

  get idle() {
    return Date.now() - this.#heard;
  }

  /** Ask for an answer, and end if none comes: joining again where we are changes nothing.
   * @param {string} room @param {Position} position */
  check(room, position) {
    if (this.#checking) return;
    this.#checking = true;
    this.#timer = setTimeout(() => this.#checking && this.#end({}), this.#options.patience);
    this.join(room, position);
  }

  close() {
    clearTimeout(this.#timer);
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }
}
