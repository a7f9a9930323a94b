/** The requests of one chat. */
export class Requests {
    /** @param {Kit} kit @param {Wire} wire @param {Settings} options */
    constructor(kit: Kit, wire: Wire, options: Settings);
    /**
     * @param {URL} address
     * @param {RequestInit & {signal: AbortSignal}} init
     * @returns {Promise<Response>} a success; anything else is thrown as ChatError
     */
    open(address: URL, init: RequestInit & {
        signal: AbortSignal;
    }): Promise<Response>;
    /**
     * @param {string} path @param {How} [how]
     * @returns {Promise<any>} what is said; failures of any kind are thrown as ChatError
     */
    request(path: string, { query, body, timeout, signal, unnamed }?: How): Promise<any>;
    /**
     * Stored messages, read without saying who reads where that will do: the server takes someone
     * who reads under a name for present, a while longer than the page may last.
     *
     * @param {string} room @param {How} how
     * @returns {Promise<Page>}
     */
    read(room: string, how: How): Promise<Page>;
    /** Stored messages, or one to be stored. @param {string} room @param {How} how */
    messages(room: string, how: How): Promise<any>;
    /** How a room is, and who is there. @param {string} room @param {How} how */
    here(room: string, how: How): Promise<any>;
    /** The room's event stream. @param {string} room @param {string} after @param {AbortSignal} signal */
    events(room: string, after: string, signal: AbortSignal): Promise<Response>;
    #private;
}
export type ChatError = import("../errors.js").ChatError;
export type Page = import("../types.js").Page;
export type Settings = import("../types.js").Settings;
export type Wire = import("../wire.js").Wire;
export type Kit = import("./loader.js").Kit;
export type How = {
    query?: Record<string, unknown> | undefined;
    /**
     * do not say who we are
     */
    unnamed?: boolean | undefined;
    /**
     * to be posted as JSON
     */
    body?: object | undefined;
    /**
     * ms
     */
    timeout?: number | undefined;
    signal?: AbortSignal | undefined;
};
