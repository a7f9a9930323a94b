/**
 * One message is on its way in each room, in order, so that their order is kept whatever is
 * refused. One that was lost with its connection goes alone, when nothing else waits: should it be
 * what ends connections, it takes no other with it. A repetition waits until the room has been
 * caught up with, for it may be there.
 */
export class Sender {
    /**
     * @param {Wire} wire @param {Settings} options @param {Connection} connection
     * @param {(room: string) => Place | undefined} place of a room that we are in
     */
    constructor(wire: Wire, options: Settings, connection: Connection, place: (room: string) => Place | undefined);
    /** @param {string} room @returns {Unsent[]} */
    unsent(room: string): Unsent[];
    /** Throws a ChatError if it cannot be sent. @param {Unsent} unsent @returns {Promise<string>} */
    send(unsent: Unsent): Promise<string>;
    /** Nobody wants it any more; on its way it may arrive all the same.
     * @param {Unsent} unsent @param {unknown} reason */
    forget(unsent: Unsent, reason: unknown): void;
    /** The link is up: who we are and the server's limits are known. */
    begin(): void;
    /** Send what can be sent now. */
    flush(): void;
    /** The link has ended, and why. @param {End} end */
    lost({ error, isFatal }: End): void;
    /** @param {{room: string, id: string}} which */
    acknowledged(which: {
        room: string;
        id: string;
    }): void;
    /** @param {{room: string, id: string}} which @param {ChatError} error */
    declined(which: {
        room: string;
        id: string;
    }, error: ChatError): Promise<void>;
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
export type Connection = import("./connection.js").Connection;
/**
 * A room as one who sends sees it.
 */
export type Place = {
    /**
     * up to where it has been read
     */
    cursor: string | null;
    /**
     * whether it has been caught up with
     */
    isCurrent: boolean;
    tell: import("./seat.js").Seat["tell"];
};
import { ChatError } from './errors.js';
