/** As setTimeout, which fires at once when it is to wait longer than it can: this never fires then.
 * @param {() => void} act @param {number} ms @returns {Timer | undefined} */
export function timer(act: () => void, ms: number): Timer | undefined;
/**
 * Milliseconds since `then`, by the clock that goes on while a machine sleeps. Where it was set back
 * that cannot be known, and is rather long than nothing.
 *
 * @param {number} then what Date.now() gave
 */
export function since(then: number): number;
/** Back-off, exponential and with a limit. @param {{backoff: number, backoffMax: number}} options
 * @param {number} failures so far, after the first @returns {number} ms to wait at most */
export function ceiling({ backoff, backoffMax }: {
    backoff: number;
    backoffMax: number;
}, failures: number): number;
/**
 * An abort signal that fires with any of `outer`, and with a ChatError after a time that may be
 * extended. Once it has fired, or is cleared, nothing of it is left: a timer would hold a process of Node.
 *
 * @param {number | undefined} ms undefined: no such time
 * @param {(AbortSignal | undefined)[]} outer
 * @returns {{signal: AbortSignal, extend: (ms: number) => void, clear: () => void}}
 */
export function deadline(ms: number | undefined, ...outer: (AbortSignal | undefined)[]): {
    signal: AbortSignal;
    extend: (ms: number) => void;
    clear: () => void;
};
/** @param {number} ms @param {AbortSignal[]} over @returns {Promise<boolean>} whether it was not cut
 * short by one of `over` */
export function sleep(ms: number, ...over: AbortSignal[]): Promise<boolean>;
/**
 * A promise to be settled later. Nobody need look at it: what a promise tells, events tell too.
 *
 * @template T
 * @returns {{promise: Promise<T>, resolve: (value: T) => void, reject: (error: unknown) => void}}
 */
export function deferred<T>(): {
    promise: Promise<T>;
    resolve: (value: T) => void;
    reject: (error: unknown) => void;
};
/**
 * `promise`, unless `signal` aborts (then its reason) or `timeout` ms pass (then a ChatError).
 *
 * @template T
 * @param {Promise<T>} promise
 * @param {{signal?: AbortSignal, timeout?: number}} how
 * @param {(reason: unknown) => void} [giveUp] called in that case
 * @returns {Promise<T>} nobody need look at it
 */
export function within<T>(promise: Promise<T>, { signal, timeout }: {
    signal?: AbortSignal;
    timeout?: number;
}, giveUp?: (reason: unknown) => void): Promise<T>;
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
export function patiently<Options extends {
    signal?: AbortSignal;
    timeout?: number;
}, T>(what: string, options: Options, known: string[], act: (rest: Omit<Options, "signal" | "timeout">, over: AbortSignal) => T | Promise<T>): Promise<T>;
/** @typedef {import('./types.js').Timer} Timer */
/** The longest that a timer may run, in ms. */
export const LONGEST_TIMER: number;
export type Timer = import("./types.js").Timer;
