/** All rooms over HTTP. */
export class HttpLink {
    /** @param {Wire} wire @param {Settings} options @param {boolean} streaming @param {Tabs} tabs */
    constructor(wire: Wire, options: Settings, streaming: boolean, tabs: Tabs);
    hooks: import("../types.js").Hooks;
    isUp: boolean;
    idle: number;
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
    /** @param {string} room */
    check(room: string): Promise<void>;
    close(): void;
    #private;
}
export type End = import("../types.js").End;
export type Position = import("../types.js").Position;
export type Settings = import("../types.js").Settings;
export type Unsent = import("../types.js").Unsent;
export type Wire = import("../wire.js").Wire;
export type Tabs = import("./tabs.js").Tabs;
