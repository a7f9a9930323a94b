/**
 * chatd's client: rooms over WebSocket, server-sent events or long-poll, whichever gets through.
 *
 *     import { Chat } from './chatd.js';
 *
 *     const chat = new Chat('/', { user: 'ann' });
 *     const room = await chat.join('lobby', { last: 50 });
 *     room.send('hello');
 *     for await (const message of room) console.log(message.user, message.text);
 *
 * A room is a stream and the client a cursor on it: after any interruption, on any transport, it
 * reads on after the last message it has. A message sent offline waits and is sent under its id,
 * so that it is stored once however often it had to be sent. Runs in browsers and in Node 20.
 * The wire is described in docs/protocol.rst, the use of this module in docs/chatd-js.rst.
 *
 * @module chatd
 */

/**
 * @typedef {import('./client/types.js').Message} Message
 * @typedef {import('./client/types.js').Options} Options
 * @typedef {import('./client/types.js').Patience} Patience
 * @typedef {import('./client/types.js').Page} Page
 * @typedef {import('./client/types.js').Position} Position
 * @typedef {import('./client/types.js').Presence} Presence
 * @typedef {import('./client/types.js').RoomState} RoomState
 * @typedef {import('./client/types.js').State} State
 * @typedef {import('./client/types.js').Transport} Transport
 * @typedef {import('./client/types.js').Unsent} Unsent
 */

export { Chat } from './client/chat.js';
export { ChatError } from './client/errors.js';
export { Room } from './client/room.js';
export { newId } from './client/wire.js';
