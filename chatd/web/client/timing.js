/** Waiting, and bounding how long others make us wait. */

import { ChatError } from './errors.js';

/** The longest that a timer may run, in ms. */
export const LONGEST_TIMER = 2_000_000_000;

/** @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
export function sleep(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });
}

/** @typedef {import('./types.js').Timer} Timer */

/** An abort signal that also fires when its time runs out, which may be extended. */
export class Deadline {
  #controller = new AbortController();
  /** @type {Timer | undefined} */
  #timer;
  #outer;
  #follow = () => this.#controller.abort(this.#outer?.reason);

  /** @param {number} ms @param {AbortSignal} [outer] */
  constructor(ms, outer) {
    this.#outer = outer;
    if (outer?.aborted) this.#follow();
    outer?.addEventListener('abort', this.#follow);
    this.extend(ms);
  }

  get signal() {
    return this.#controller.signal;
  }

  /** @param {number} ms from now */
  extend(ms) {
    clearTimeout(this.#timer);
    const late = () => this.#controller.abort(new ChatError('timeout', 'No answer in time.'));
    this.#timer = setTimeout(late, ms);
  }

  clear() {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener('abort', this.#follow);
  }
}
