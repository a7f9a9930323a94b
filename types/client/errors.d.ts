/** @param {unknown} error @returns {ChatError} */
export function asChatError(error: unknown): ChatError;
/** @returns {ChatError} */
export function closed(): ChatError;
/** @param {unknown} error what the application's function threw @returns {ChatError} */
export function noToken(error: unknown): ChatError;
/**
 * Throw TypeError for a name that nobody would look at: a slip of the pen is told, not ignored.
 *
 * @param {string} what kind of name
 * @param {string[]} names
 * @param {readonly string[]} known
 */
export function checkNames(what: string, names: string[], known: readonly string[]): void;
/**
 * What `act` gives; undefined if it throws.
 *
 * @template T
 * @param {() => T} act
 * @returns {T | undefined}
 */
export function attempt<T>(act: () => T): T | undefined;
/** The errors that applications get. */
/** The server refused, or cannot be reached (`network`, `timeout`), or the client did
 * (`closed`, `unsent_full`). `code` is otherwise one of the protocol's; `cause` is what was thrown
 * underneath, where something was. */
export class ChatError extends Error {
    /**
     * @param {string} code
     * @param {string} text
     * @param {number} [retry] milliseconds after which to try again, where the server said so
     * @param {unknown} [cause]
     */
    constructor(code: string, text: string, retry?: number, cause?: unknown);
    code: string;
    retry: number | undefined;
    /** Trying again later may help. */
    get temporary(): boolean;
}
