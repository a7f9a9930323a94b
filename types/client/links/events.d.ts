/**
 * A room by an event stream. The first item, `started`, says only that bytes arrive; a return says
 * how long to wait until the next try.
 *
 * @param {import('./reader.js').Way} way
 * @param {string} room @param {string} after
 * @param {{patience: number, signal: AbortSignal}} how ms until the first bytes
 * @returns {AsyncGenerator<import('../types.js').Frame, number | undefined>}
 */
export function stream(way: import("./reader.js").Way, room: string, after: string, { patience, signal }: {
    patience: number;
    signal: AbortSignal;
}): AsyncGenerator<import("../types.js").Frame, number | undefined>;
/** Server-sent events out of the text of a stream (HTML, 9.2.6). */
export class EventParser {
    /** @type {number | undefined} milliseconds to wait before reconnecting, as the server says */
    retry: number | undefined;
    /** What is left of a line that has not ended. */
    rest: string;
    /** @param {string} text @returns {Generator<{name: string, data: string}>} */
    push(text: string): Generator<{
        name: string;
        data: string;
    }>;
    #private;
}
