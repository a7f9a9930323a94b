/**
 * @typedef {object} Link What is looked after.
 * @property {number} idle ms since something was heard
 * @property {() => void} renew the wire has a new token
 */
/**
 * Look now and then whether it is still there.
 *
 * @param {Link} link @param {number} silence ms @param {() => void} check called after so long
 * @param {AbortSignal} over ends it
 */
export function watch(link: Link, silence: number, check: () => void, over: AbortSignal): Promise<void>;
/**
 * Have a new token before each expires.
 *
 * @param {Link} link @param {import('./wire.js').Wire} wire
 * @param {(error: unknown) => void} failed none could be had; asked for again in a while
 * @param {AbortSignal} over ends it
 */
export function renew(link: Link, wire: import("./wire.js").Wire, failed: (error: unknown) => void, over: AbortSignal): Promise<void>;
/**
 * What is looked after.
 */
export type Link = {
    /**
     * ms since something was heard
     */
    idle: number;
    /**
     * the wire has a new token
     */
    renew: () => void;
};
