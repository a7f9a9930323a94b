/** @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
export function sleep(ms: number, signal?: AbortSignal): Promise<void>;
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
/** @typedef {import('./types.js').Timer} Timer */
/** The longest that a timer may run, in ms. */
export const LONGEST_TIMER: 2000000000;
/** An abort signal that also fires when its time runs out, which may be extended. Once it has fired
 * nothing of it is left: a timer would hold a process of Node. */
export class Deadline {
    /** @param {number} ms @param {AbortSignal} [outer] */
    constructor(ms: number, outer?: AbortSignal);
    get signal(): AbortSignal;
    /** @param {number} ms from now */
    extend(ms: number): void;
    clear(): void;
    #private;
}
export type Timer = import("./types.js").Timer;
