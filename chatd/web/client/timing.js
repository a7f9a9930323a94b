/** Waiting, and bounding how long others make us wait. */

import { ChatError } from './errors.js';

/** @typedef {import('./types.js').Timer} Timer */

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
    if (signal?.aborted) done();
    else signal?.addEventListener('abort', done);
  });
}

/**
 * A promise to be settled later. Nobody need look at it: what a promise tells, events tell too.
 *
 * @template T
 * @returns {{promise: Promise<T>, resolve: (value: T) => void, reject: (error: unknown) => void}}
 */
export function deferred() {
  let [resolve, reject] = [(/** @type {T} */ _) => {}, (/** @type {unknown} */ _) => {}];
  /** @type {Promise<T>} */
  const promise = new Promise((yes, no) => {
    [resolve, reject] = [yes, no];
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}

/**
 * `promise`, unless `signal` aborts (then its reason) or `timeout` ms pass (then a ChatError).
 *
 * @template T
 * @param {Promise<T>} promise
 * @param {{signal?: AbortSignal, timeout?: number}} how
 * @param {(reason: unknown) => void} [giveUp] called in that case
 * @returns {Promise<T>} nobody need look at it
 */
export function within(promise, { signal, timeout }, giveUp) {
  /** @type {ReturnType<typeof deferred<T>>} */
  const { promise: first, resolve, reject } = deferred();
  const stop = (/** @type {unknown} */ reason) => {
    reject(reason);
    giveUp?.(reason);
  };
  const aborted = () => stop(signal?.reason);
  const timer = timeout === undefined ? undefined
    : setTimeout(() => stop(new ChatError('timeout', `Nothing came in ${timeout} ms.`)), timeout);
  if (signal?.aborted) aborted();
  signal?.addEventListener('abort', aborted);
  void promise.then(resolve, reject).finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', aborted);
  });
  return first;
}

/** An abort signal that also fires when its time runs out, which may be extended. Once it has fired
 * nothing of it is left: a timer would hold a process of Node. */
export class Deadline {
  #controller = new AbortController();
  /** @type {Timer | undefined} */
  #timer;
  #outer;
  #follow = () => this.#fire(this.#outer?.reason);

  /** @param {number} ms @param {AbortSignal} [outer] */
  constructor(ms, outer) {
    this.#outer = outer;
    outer?.addEventListener('abort', this.#follow);
    if (outer?.aborted) this.#follow();
    this.extend(ms);
  }

  get signal() {
    return this.#controller.signal;
  }

  /** @param {number} ms from now */
  extend(ms) {
    clearTimeout(this.#timer);
    if (this.signal.aborted) return;
    this.#timer = setTimeout(() => this.#fire(new ChatError('timeout', 'No answer in time.')), ms);
  }

  /** @param {unknown} reason */
  #fire(reason) {
    this.clear();
    this.#controller.abort(reason);
  }

  clear() {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener('abort', this.#follow);
  }
}
