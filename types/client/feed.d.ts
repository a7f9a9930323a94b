/**
 * @typedef {import('./errors.js').ChatError} ChatError
 * @typedef {import('./types.js').Message} Message
 * @typedef {import('./types.js').Page} Page
 */
/** Messages kept for a reader that does not read; beyond them it reads on from the server. */
export const FEED: 1000;
/**
 * One reader's place in a room. A reader that is slow is neither waited for nor buffered for
 * without end: it falls behind, and then reads on from the server. What it has read there may be
 * yet to come live: a connection can be slower than a request, or be away. So it goes on with what
 * comes live only where that has been seen to meet what was read.
 */
export class Feed {
    /**
     * @param {(after: string) => Promise<Page>} read a page of FEED messages, however long that takes
     * @param {() => string | null} told up to which cursor the room came live
     * @param {Message[]} first what to begin with
     * @param {string | null} behind the cursor to read on from, if the room has more
     */
    constructor(read: (after: string) => Promise<Page>, told: () => string | null, first: Message[], behind: string | null);
    /** @param {Message} message */
    push(message: Message): void;
    /** Nothing follows. One who was put out may read what came before; one who left wants no more, not
     * even what is on its way. @param {ChatError} [error] that put us out */
    end(error?: ChatError): void;
    /** To be called once. @returns {AsyncGenerator<Message, undefined>} */
    messages(): AsyncGenerator<Message, undefined>;
    #private;
}
export type ChatError = import("./errors.js").ChatError;
export type Message = import("./types.js").Message;
export type Page = import("./types.js").Page;
