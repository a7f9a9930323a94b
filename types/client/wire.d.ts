/**
 * @typedef {import('./types.js').Limits} Limits
 * @typedef {import('./types.js').Settings} Settings
 */
/** A fresh id for a message. @returns {string} */
export function newId(): string;
/** @param {number} bytes */
export function hex(bytes: number): string;
/** @param {{user: string, id: string}} message */
export function key(message: {
    user: string;
    id: string;
}): string;
/** @param {string} text @returns {any} what `text` says in JSON; undefined if it is none */
export function parse(text: string): any;
/** Who we are and whom to ask. */
export class Wire {
    /** @param {string | URL} url @param {Settings} options */
    constructor(url: string | URL, options: Settings);
    /** @type {string | undefined} */
    token: string | undefined;
    /** When to ask for the next token, by this machine's clock. */
    renewal: number;
    /** @type {string | undefined} */
    user: string | undefined;
    /** @type {Partial<Limits>} what the server has told of them */
    limits: Partial<Limits>;
    /** @type {(what: string, detail: unknown) => void} */
    debug: (what: string, detail: unknown) => void;
    get name(): string;
    /** Fires when the chat is closed for good, with a ChatError. */
    get closed(): AbortSignal;
    close(): void;
    /** Get a token if there is none or it is about to expire, or anyhow. @param {boolean} [anyhow] */
    authenticate(anyhow?: boolean): Promise<void>;
    /** @returns {string} the WebSocket's address; there a token has no other place than the URL */
    socket(): string;
    /**
     * @param {string} path @param {Record<string, unknown>} [query]
     * @param {boolean} [unnamed] do not say who we are
     */
    address(path: string, query?: Record<string, unknown>, unnamed?: boolean): URL;
    /** @param {URL} address @param {RequestInit} init @returns {Promise<Response>} */
    fetch(address: URL, init: RequestInit): Promise<Response>;
    /** Rejects unless chatd answers, whatever that is: in its place, a proxy or a network that one must
     * sign in to says something in HTML. @param {string} path else what chatd alone answers, and a page
     * of an origin that it refuses is not told: of a room that cannot be */
    probe(path?: string): Promise<void>;
    /**
     * Whether the server answers other pages, but not those of our origin: a page is not told why a
     * request of its own failed, so ask for what any page may read, should we get nothing else.
     *
     * @returns {Promise<ChatError | undefined>}
     */
    barred(): Promise<ChatError | undefined>;
    #private;
}
export type Limits = import("./types.js").Limits;
export type Settings = import("./types.js").Settings;
import { ChatError } from './errors.js';
