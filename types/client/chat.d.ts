/**
 * A connection to chatd that reconnects by itself.
 *
 * @extends {Emitter<ChatEvents>}
 */
export class Chat extends Emitter<ChatEvents> {
    /**
     * @param {string | URL} url where chatd's chat page is, relative to this page
     * @param {Options} [options]
     */
    constructor(url: string | URL, options?: Options);
    /** Our user name; in token mode known once connected. */
    get user(): string | undefined;
    get state(): import("./types.js").State;
    /** The handles of rooms that were not left. @returns {Room[]} */
    get rooms(): Room[];
    /**
     * Join a room. Resolves once the server has let us in, however long it takes to reach it;
     * rejects with a ChatError if it refuses. Each call gives a handle of its own, to be left by
     * itself.
     *
     * @param {string} name
     * @param {Position & Patience} [options]
     * @returns {Promise<Room>}
     */
    join(name: string, options?: Position & Patience): Promise<Room>;
    /**
     * Connect, though nothing is joined yet; again after `disconnect`; at once if it is waiting for
     * its next try. Resolves when online, rejects if the server refuses.
     *
     * @param {Patience} [options]
     * @returns {Promise<void>}
     */
    connect(options?: Patience): Promise<void>;
    /** Disconnect until `connect` is called. Rooms resume then, and messages are kept to be sent. */
    disconnect(): void;
    /** Try to connect now, if the connection waits for its next try. */
    tryNow(): void;
    /** Leave all rooms and close the connection for good. `send` of unsent messages rejects. */
    close(): void;
    #private;
}
export type Frame = import("./types.js").Frame;
export type Options = import("./types.js").Options;
export type Patience = import("./types.js").Patience;
export type Position = import("./types.js").Position;
export type State = import("./types.js").State;
export type ChatEvents = {
    state: State;
    /**
     * what no promise tells: no token to be had, or one refused
     */
    error: ChatError;
};
import { Emitter } from './emitter.js';
import { Room } from './room.js';
import { ChatError } from './errors.js';
