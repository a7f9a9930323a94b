/** One room, from a position on. */
export class Reader {
    /** @param {Way} way @param {string} room @param {Position} position */
    constructor(way: Way, room: string, position: Position);
    get stopped(): boolean;
    stop(): void;
    /** Ask anew from where we are: with a new token, on a new connection, or because others need
     * this one. Who asks in turn does so anyway. */
    restart(): void;
    /**
     * The room's frames, `joined` first; it comes when the way there has proved to work.
     *
     * @returns {AsyncGenerator<Frame, number | undefined>} returns the ms to wait when it has ended
     */
    frames(): AsyncGenerator<Frame, number | undefined>;
    #private;
}
export type ChatError = import("../errors.js").ChatError;
export type Frame = import("../types.js").Frame;
export type Page = import("../types.js").Page;
export type Position = import("../types.js").Position;
export type Settings = import("../types.js").Settings;
export type Wire = import("../wire.js").Wire;
export type Share = import("./tabs.js").Share;
export type Shared = {
    wire: Wire;
    requests: import("./requests.js").Requests;
    options: Settings;
    tabs: import("./tabs.js").Tabs;
    streaming: boolean;
    /**
     * seconds that a poll asks to wait
     */
    wait: number;
    isUp: () => boolean;
    /**
     * called with each sign of the server
     */
    heard: () => void;
};
/**
 * How rooms are read, and what that takes; shared by all readers of a link.
 */
export type Way = Shared & import("./loader.js").Kit;
