/**
 * A copy of `data` as JSON carries it. Throws a ChatError for what JSON cannot carry (circles,
 * BigInt), what is no object, and what is too deep.
 *
 * @param {Record<string, unknown> | undefined} data
 */
export function copy(data: Record<string, unknown> | undefined): any;
/**
 * The name of a room as the server takes it. Throws a ChatError for what no request can carry, so
 * that no answer would name it.
 *
 * @param {string} name
 */
export function roomName(name: string): string;
/**
 * Throw a ChatError for a message that the server would refuse.
 *
 * @param {Unsent} unsent
 * @param {Partial<Limits>} limits as far as the server has told them
 */
export function check({ room, id, text, data }: Unsent, limits: Partial<Limits>): void;
export type Limits = import("./types.js").Limits;
export type Unsent = import("./types.js").Unsent;
