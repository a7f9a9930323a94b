/**
 * @typedef {import('./types.js').End} End
 * @typedef {import('./types.js').Frame} Frame
 * @typedef {import('./types.js').Place} Place
 * @typedef {import('./types.js').Settings} Settings
 * @typedef {import('./types.js').State} State
 * @typedef {import('./wire.js').Wire} Wire
 * @typedef {import('./types.js').Owner} Owner
 * @typedef {SocketLink | HttpLink} Link
 * @typedef {{link: Link, level: number}} Better a link that works, and its place in the transports
 */
/** One link after another, until closed. */
export class Connection {
    /** @param {Wire} wire @param {Settings} options @param {Owner} owner */
    constructor(wire: Wire, options: Settings, owner: Owner);
    /** @type {State} */
    state: State;
    /** @type {Link | null} */
    link: Link | null;
    /** Fires when the connection is closed for good. */
    get closed(): AbortSignal;
    /** There is something to connect for. */
    start(): void;
    /** @returns {Promise<void>} fulfilled when online, rejected if the server refuses */
    connect(): Promise<void>;
    disconnect(): void;
    tryNow(): void;
    /** The link is of no use any more. @param {ChatError} error */
    abandon(error: ChatError): void;
    /** End for good. */
    close(): void;
    #private;
}
export type End = import("./types.js").End;
export type Frame = import("./types.js").Frame;
export type Place = import("./types.js").Place;
export type Settings = import("./types.js").Settings;
export type State = import("./types.js").State;
export type Wire = import("./wire.js").Wire;
export type Owner = import("./types.js").Owner;
export type Link = SocketLink | HttpLink;
/**
 * a link that works, and its place in the transports
 */
export type Better = {
    link: Link;
    level: number;
};
import { ChatError } from './errors.js';
import { SocketLink } from './links/socket.js';
import { HttpLink } from './links/http.js';
