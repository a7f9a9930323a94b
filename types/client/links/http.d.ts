/**
 * Makes links, which share what the tabs of this browser have in common, and reads what is stored.
 *
 * @param {Kit} kit @param {Wire} wire @param {Settings} options
 */
export function overHttp(kit: Kit, wire: Wire, options: Settings): {
    /** @param {boolean} streaming */
    make: (streaming: boolean) => HttpLink;
    /** @param {string} room @param {import('./requests.js').How} how */
    read: (room: string, how: import("./requests.js").How) => Promise<import("../types.js").Page>;
    /** @param {Connection} connection @param {AbortSignal} over */
    improve: (connection: Connection, over: AbortSignal) => Promise<void>;
};
/** All rooms over HTTP. */
export class HttpLink {
    /** @param {Omit<Way, 'wait' | 'isUp' | 'heard'>} way */
    constructor(way: Omit<Way, "wait" | "isUp" | "heard">);
    /** @type {Hooks | undefined} */
    hooks: Hooks | undefined;
    isUp: boolean;
    /** As over a WebSocket. */
    get idle(): number;
    open(): void;
    /** Whether a stream gets through at all, or a request.
     * @param {string} room @param {Position} position @returns {Promise<boolean>} */
    works(room: string, { after }: Position): Promise<boolean>;
    /** @param {string} room @param {Position} position */
    join(room: string, position: Position): void;
    /** @param {string} room */
    leave(room: string): void;
    /** @param {Unsent} unsent */
    send({ room, id, text, data, after }: Unsent): Promise<void>;
    /** HTTP has no way to say so. */
    typing(): void;
    /** Ask with the new token. */
    renew(): void;
    /** An answer to one request does not tell that those which wait for news would hear any: they are
     * made anew. @param {Place} place */
    check({ name }: Place): Promise<void>;
    close(): void;
    #private;
}
export type Connection = import("../connection.js").Connection;
export type ChatError = import("../errors.js").ChatError;
export type End = import("../types.js").End;
export type Frame = import("../types.js").Frame;
export type Hooks = import("../types.js").Hooks;
export type Place = import("../types.js").Place;
export type Position = import("../types.js").Position;
export type Settings = import("../types.js").Settings;
export type Unsent = import("../types.js").Unsent;
export type Wire = import("../wire.js").Wire;
export type Kit = import("./loader.js").Kit;
export type Way = import("./reader.js").Way;
