/** One WebSocket for all rooms. */
export class SocketLink {
    /** @param {Wire} wire @param {Settings} options */
    constructor(wire: Wire, options: Settings);
    /** @type {Hooks | undefined} */
    hooks: Hooks | undefined;
    isUp: boolean;
    open(): void;
    /** @param {string} room @param {Position} position */
    join(room: string, position: Position): void;
    /** @param {string} room */
    leave(room: string): void;
    /** @param {Unsent} unsent */
    send({ room, id, text, data, after }: Unsent): void;
    /** @param {string} room */
    typing(room: string): void;
    /** The wire has a new token. */
    renew(): void;
    get idle(): number;
    /** Ask for an answer, unless one is due, and end if none comes: joining again where we are changes
     * nothing. @param {Place} place */
    check(place: Place): void;
    close(): void;
    #private;
}
export type End = import("../types.js").End;
export type Frame = import("../types.js").Frame;
export type Hooks = import("../types.js").Hooks;
export type Place = import("../types.js").Place;
export type Position = import("../types.js").Position;
export type Settings = import("../types.js").Settings;
export type Timer = import("../types.js").Timer;
export type Unsent = import("../types.js").Unsent;
export type Wire = import("../wire.js").Wire;
