/** One link after another, until closed. */
export class Connection {
    /** @param {Wire} wire @param {Settings} options @param {Owner} owner */
    constructor(wire: Wire, options: Settings, owner: Owner);
    /** @type {State} */
    state: State;
    /** @type {Link | null} */
    link: Link | null;
    /** The factory of links. */
    links: Loader;
    transports: Transports;
    /** Milliseconds until a better transport is tried. */
    delay: number;
    /** Fires when the connection is closed for good. */
    get closed(): AbortSignal;
    /** Connect, because a room was joined. */
    start(): void;
    /** @returns {Promise<void>} fulfilled when online, rejected if the server refuses */
    connect(): Promise<void>;
    disconnect(): void;
    tryNow(): void;
    /** Give the link up. @param {ChatError} error */
    abandon(error: ChatError): void;
    /** End for good. */
    close(): void;
    /** @param {number} level of a transport @returns {Promise<Link>} */
    make(level: number): Promise<Link>;
    /** Let another link carry the chat. @param {Link} link @param {number} level */
    change(link: Link, level: number): void;
    /** A room that we are in. @returns {Place | undefined} */
    get joined(): Place | undefined;
    /** Whether a WebSocket may have as many rooms as there are. */
    get fits(): boolean;
    #private;
}
export type End = import("./types.js").End;
export type Place = import("./types.js").Place;
export type Settings = import("./types.js").Settings;
export type State = import("./types.js").State;
export type Wire = import("./wire.js").Wire;
export type Owner = import("./types.js").Owner;
export type Link = import("./links/loader.js").Link;
/**
 * a link that works, and its place in the transports
 */
export type Better = {
    link: Link;
    level: number;
};
import { Loader } from './links/loader.js';
import { Transports } from './transports.js';
import { ChatError } from './errors.js';
