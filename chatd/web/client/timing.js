/** Waiting, and bounding how long others make us wait. */

import { ChatError, checkNames } from './errors.js';

/** @typedef {import('./types.js').Timer} Timer */

/** The longest that a timer may run, in ms. */
export const LONGEST_TIMER = 2 ** 31 - 1;

/** As setTimeout, which fires at once when it is to wait longer than it can: this never fires then.
 * @param {() => void} act @param {number} ms @returns {Timer | undefined} */
export function timer(act, ms) {
  return ms > LONGEST_TIMER ? undefined : setTimeout(act, ms);
}

/**
 * Milliseconds since `then`, by the clock that goes on while a machine sleeps. Where it was set back
 * that cannot be known, and is rather long than nothing.
 *
 * @param {number} then what Date.now() gave
 */
export function since(then) {
  return Math.abs(Date.now() - then);
}

/** Back-off, exponential and with a limit. @param {{backoff: number, backoffMax: number}} options
 * @param {number} failures so far, after the first @returns {number} ms to wait at most */
export function ceiling({ backoff, backoffMax }, failures) {
  return Math.min(backoffMax, backoff * 2 ** Math.min(failures, 30));
}

/**
 * An abort signal that fires with any of `outer`, and with a ChatError after a time that may be
 * extended. Once it has fired, or is cleared, nothing of it is left: a timer would hold a process of Node.
 *
 * @param {number | undefined} ms undefined: no such time
 * @param {(AbortSignal | undefined)[]} outer
 * @returns {{signal: AbortSignal, extend: (ms: number) => void, clear: () => void}}
 */
export function deadline(ms, ...outer) {
  const controller = new AbortController();
  /** @type {Timer | undefined} */
  let running;
  const clear = () => {
    clearTimeout(running);
    outer.forEach((one) => one && followers.get(one)?.delete(follow));
  };
  const fire = (/** @type {unknown} */ reason) => {
    clear();
    controller.abort(reason);
  };
  const follow = () => fire(outer.find((one) => one?.aborted)?.reason);
  const extend = (/** @type {number} */ more) => {
    clearTimeout(running);
    if (controller.signal.aborted) return;
    const late = new ChatError('timeout', `Nothing came in ${more} ms.`);
    running = timer(() => fire(late), more);
  };
  if (ms !== undefined) extend(ms);
  outer.forEach((one) => one && whenAborted(one, follow));
  return { signal: controller.signal, extend, clear };
}

/** What is done when a signal fires. Of each there is one listener, for Node warns of a leak where
 * there are more than ten: a chat with many rooms waits for that many at once.
 * @type {WeakMap<AbortSignal, Set<() => void>>} */
const followers = new WeakMap();

/** @param {AbortSignal} signal @param {() => void} act called when it fires, or has fired */
function whenAborted(signal, act) {
  if (signal.aborted) return act();
  const acts = followers.get(signal) ?? new Set();
  if (!followers.has(signal)) signal.addEventListener('abort', () => acts.forEach((one) => one()));
  followers.set(signal, acts.add(act));
}

/** @param {number} ms @param {AbortSignal[]} over @returns {Promise<boolean>} whether it was not cut
 * short by one of `over` */
export function sleep(ms, ...over) {
  return new Promise((resolve) =>
    whenAborted(deadline(ms, ...over).signal, () => resolve(!over.some(({ aborted }) => aborted))));
}

/**
 * A promise to be settled later. Nobody need look at it: what a promise tells, events tell too.
 *
 * @template T
 * @returns {{promise: Promise<T>, resolve: (value: T) => void, reject: (error: unknown) => void}}
 */
export function deferred() {
  const it = /** @type {any} */ ({});
  it.promise = new Promise((resolve, reject) => Object.assign(it, { resolve, reject }));
  it.promise.catch(() => {});
  return it;
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
  const limit = deadline(timeout, signal);
  whenAborted(limit.signal, () => {
    reject(limit.signal.reason);
    giveUp?.(limit.signal.reason);
  });
  void promise.then(resolve, reject).finally(limit.clear);
  return first;
}

/**
 * Do something as patiently as the options `signal` and `timeout` say. Rejects with TypeError for
 * an option that is not known.
 *
 * @template {{signal?: AbortSignal, timeout?: number}} Options
 * @template T
 * @param {string} what is done
 * @param {Options} options
 * @param {string[]} known the other options there are
 * @param {(rest: Omit<Options, 'signal' | 'timeout'>, over: AbortSignal) => T | Promise<T>} act
 *   given the other options; `over` fires when nobody waits any more
 * @returns {Promise<T>} nobody need look at it
 */
export function patiently(what, options, known, act) {
  const over = new AbortController();
  const acting = async () => {
    checkNames(`option of ${what}`, Object.keys(options), [...known, 'signal', 'timeout']);
    const { signal, timeout, ...rest } = options;
    return act(rest, over.signal);
  };
  return within(acting(), options, (reason) => over.abort(reason));
}
