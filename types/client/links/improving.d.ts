/**
 * Try them now and then, more and more rarely, and change over to one that works.
 *
 * @param {Kit} kit @param {Connection} connection
 * @param {AbortSignal} over fires when what is in use has ended
 */
export function improve({ sleep }: Kit, connection: Connection, over: AbortSignal): Promise<void>;
export type Kit = import("./loader.js").Kit;
export type Link = import("./loader.js").Link;
export type Connection = import("../connection.js").Connection;
