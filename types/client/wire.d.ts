/** A fresh id for a message. @returns {string} */
export function newId(): string;
/** @param {number} bytes */
export function hex(bytes: number): string;
/** @param {{user: string, id: string}} message */
export function key(message: {
    user: string;
    id: string;
}): string;
/** @param {string} text @returns {any} what `text` says in JSON; null if it is none */
export function parse(text: string): any;
/**
 * Stored messages, read without saying who reads where that will do: the server takes someone
 * who reads under a name for present, a while longer than the page may last.
 *
 * @param {Wire} wire @param {string} room
 * @param {{query: Record<string, unknown>, timeout?: number, signal?: AbortSignal}} how
 * @returns {Promise<Page>}
 */
export function read(wire: Wire, room: string, how: {
    query: Record<string, unknown>;
    timeout?: number;
    signal?: AbortSignal;
}): Promise<Page>;
/** @param {string} room */
export function path(room: string): string;
/**
 * @typedef {import('./types.js').Frame} Frame
 * @typedef {import('./types.js').Limits} Limits
 * @typedef {import('./types.js').Page} Page
 * @typedef {import('./types.js').Settings} Settings
 */
/** Longest wait that a server may ask for, in ms. */
export const LONGEST_RETRY: 300000;
/** Who we are and how to ask. */
export class Wire {
    /** @param {string | URL} url @param {Settings} options */
    constructor(url: string | URL, options: Settings);
    /** When to ask for the next token, by this machine's clock. */
    renewal: number;
    /** @type {string | undefined} */
    user: string | undefined;
    /** @type {Partial<Limits>} what the server has told of them */
    limits: Partial<Limits>;
    /** @type {(what: string, detail: unknown) => void} */
    debug: (what: string, detail: unknown) => void;
    get name(): string;
    /** Get a token if there is none or it is about to expire, or anyhow. @param {boolean} [anyhow] */
    authenticate(anyhow?: boolean): Promise<void>;
    /** The current token's `auth` frame. @returns {Frame} */
    auth(): Frame;
    /** @returns {string} the WebSocket's address; there a token has no other place than the URL */
    socket(): string;
    /**
     * Whether the server answers other pages, but not those of our origin: a page is not told why a
     * request of its own failed, so ask for what any page may read.
     *
     * @returns {Promise<ChatError | undefined>}
     */
    barred(): Promise<ChatError | undefined>;
    /**
     * @param {string} path
     * @param {Record<string, unknown>} query
     * @param {RequestInit & {signal: AbortSignal}} init
     * @param {boolean} [unnamed]
     * @returns {Promise<Response>} a success; anything else is thrown as ChatError
     */
    open(path: string, query: Record<string, unknown>, init: RequestInit & {
        signal: AbortSignal;
    }, unnamed?: boolean): Promise<Response>;
    /**
     * @param {string} path
     * @param {{query?: Record<string, unknown>, body?: object, timeout?: number,
     *   signal?: AbortSignal, unnamed?: boolean}} [how]
     * @returns {Promise<any>}
     */
    request(path: string, { query, body, timeout, signal, unnamed }?: {
        query?: Record<string, unknown>;
        body?: object;
        timeout?: number;
        signal?: AbortSignal;
        unnamed?: boolean;
    }): Promise<any>;
    #private;
}
export type Frame = import("./types.js").Frame;
export type Limits = import("./types.js").Limits;
export type Page = import("./types.js").Page;
export type Settings = import("./types.js").Settings;
import { ChatError } from './errors.js';
