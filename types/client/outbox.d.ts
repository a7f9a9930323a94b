/** Messages in the order of sending, each kept until the server has answered for it. */
export class Outbox {
    /** @param {number} limit @param {Options['storage']} storage */
    constructor(limit: number, storage: Options["storage"]);
    /** Oldest first. */
    get all(): import("./types.js").Entry[];
    /** Whether another page of the same user may restore what is in it. */
    get isShared(): boolean;
    /** @param {Unsent} unsent @param {string} [key] @returns {Entry} the one there is, if it was
     * added before */
    add(unsent: Unsent, key?: string): Entry;
    /** @param {{room: string, id: string}} which */
    get(which: {
        room: string;
        id: string;
    }): import("./types.js").Entry | undefined;
    /** @param {Entry} entry answered for */
    remove(entry: Entry): void;
    /** Take over what an earlier page of the same user left; what this one has sent comes after it.
     *
     * @param {string} user and server
     */
    restore(user: string): void;
    /** Store it as it is now. @param {Entry} entry */
    keep({ key, unsent }: Entry): void;
    #private;
}
export type Entry = import("./types.js").Entry;
export type Options = import("./types.js").Options;
export type Unsent = import("./types.js").Unsent;
