/**
 * One message is on its way in each room, in order, so that their order is kept whatever is
 * refused. One that was lost with its connection goes alone, when nothing else waits: should it be
 * what ends connections, it takes no other with it. A repetition waits until the room has been
 * caught up with, for it may be there.
 */
export class Sender {
    /** @param {Wire} wire @param {Settings} options @param {Post} post */
    constructor(wire: Wire, options: Settings, post: Post);
    /** @param {string} room @returns {Unsent[]} */
    unsent(room: string): Unsent[];
    /** Take over what an earlier page of the same user left. @param {string} prefix */
    restore(prefix: string): void;
    /** Throws a ChatError if it cannot be sent. @param {Unsent} unsent @returns {Promise<string>} */
    send(unsent: Unsent): Promise<string>;
    /** Nobody wants it any more; on its way it may arrive all the same.
     * @param {Unsent} unsent @param {unknown} reason */
    forget(unsent: Unsent, reason: unknown): void;
    /** The server's limits are known. */
    judge(): void;
    /** Send what can be sent now. */
    flush(): void;
    /** The link has ended, and why. @param {End} end */
    lost({ code, error }: End): void;
    /** @param {string} room @param {string} id */
    acknowledged(room: string, id: string): void;
    /** @param {string} room @param {string} id @param {ChatError} error */
    declined(room: string, id: string, error: ChatError): Promise<void>;
    /** The only one on its way, if it is one alone. @returns {Unsent | undefined} */
    get alone(): Unsent | undefined;
    /** The chat is over; what is stored stays for the next one. */
    close(): void;
    #private;
}
export type End = import("./types.js").End;
export type Entry = import("./types.js").Entry;
export type Settings = import("./types.js").Settings;
export type Unsent = import("./types.js").Unsent;
export type Wire = import("./wire.js").Wire;
/**
 * What a sender asks of the chat, and tells it.
 */
export type Post = {
    link: () => {
        isUp: boolean;
        send: (unsent: Unsent) => unknown;
    } | null;
    /**
     * the link is of no use any more
     */
    abandon: (error: ChatError) => void;
    /**
     * up to where a room has been read
     */
    cursor: (room: string) => string | null | undefined;
    /**
     * whether a room is still being caught up with
     */
    behind: (room: string) => boolean;
    settled: (unsent: Unsent, error?: ChatError) => void;
};
import { ChatError } from './errors.js';
