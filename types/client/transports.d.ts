/** The transports of one chat; the one that worked is remembered where there is storage. */
export class Transports {
    /** @param {Settings} options @param {string} server its address */
    constructor(options: Settings, server: string);
    /** @type {Transport[]} best first */
    all: Transport[];
    /** Where in `all` to begin. */
    level: number;
    /** The transport at `level` works. @param {number} level */
    works(level: number): void;
    /** The one in use has ended after `lasted` ms; the next may last longer.
     * @param {number} lasted @param {End} end @returns {boolean} whether it had worked */
    ended(lasted: number, { isFatal, retry }: End): boolean;
    #private;
}
export type End = import("./types.js").End;
export type Settings = import("./types.js").Settings;
export type Transport = import("./types.js").Transport;
