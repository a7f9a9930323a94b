/** Shapes that several modules speak of; there is nothing to run in here. */

/**
 * @typedef {import('./errors.js').ChatError} ChatError
 *
 * @typedef {object} Message What a room carries.
 * @property {'message'} type
 * @property {string} room
 * @property {string} cursor opaque place in the room; reading "after" it continues behind this
 * @property {string} id unique for this user in this room
 * @property {string} user
 * @property {string} text
 * @property {string} time RFC 3339, UTC, milliseconds
 * @property {Record<string, unknown>} [data] the application's own
 *
 * @typedef {object} Page Stored messages, as `Room.history` returns them.
 * @property {Message[]} messages
 * @property {string} cursor to go on reading with `{after: cursor}`
 * @property {boolean} gap whether messages after the cursor asked for are no longer kept
 *
 * @typedef {{after?: string, last?: number, since?: string}} Position
 *   Where to begin, at most one of: after a cursor, N messages from the end, at a time (RFC 3339).
 *   None of them: now.
 *
 * @typedef {object} Presence
 * @property {string[]} members everyone here, sorted; cut above the server's presence limit
 * @property {number} count how many are here
 * @property {string[]} joined who came since the last event
 * @property {string[]} left who went since the last event
 *
 * @typedef {'websocket' | 'sse' | 'poll'} Transport
 *
 * @typedef {object} State
 * @property {'connecting' | 'online' | 'offline'} state
 * @property {Transport | null} transport while online
 * @property {number | null} retry while offline: milliseconds until the next try
 * @property {ChatError | null} error while offline: why, where known
 *
 * @typedef {object} Unsent A message that is not acknowledged yet.
 * @property {string} room
 * @property {string} id
 * @property {string} text
 * @property {Record<string, unknown>} [data]
 * @property {number} at when `send` was called, milliseconds since 1970
 *
 * @typedef {object} Options
 * @property {string} [user] open mode: who to be; without it a guest with a random name
 * @property {() => string | Promise<string>} [token] token mode: gives a JWT that is valid now;
 *   asked again before it expires and when the server refuses it
 * @property {Pick<Storage, 'getItem' | 'setItem' | 'removeItem' | 'key' | 'length'>} [storage]
 *   such as localStorage: unsent messages and the transport that worked survive a reload
 * @property {Transport[]} [transports] which to try, best first. By default those whose browser
 *   interface (WebSocket, EventSource) exists, and poll. Event streams are read with fetch, which
 *   can send a token in a header; a missing EventSource is taken as "no event streams here", so
 *   under Node name 'sse' to use them.
 * @property {typeof WebSocket} [WebSocket] in place of the global one
 * @property {typeof fetch} [fetch] in place of the global one
 * @property {number} [patience] ms in which a transport must prove that it works [4000]
 * @property {number} [answer] ms in which a request must be answered [20000]
 * @property {number} [silence] ms without a frame after which a WebSocket is checked [60000]
 * @property {number} [backoff] ms, the ceiling of the first wait before reconnecting [500]
 * @property {number} [backoffMax] ms, the ceiling of the longest such wait [30000]
 * @property {number} [upgrade] ms until a better transport is first tried again [30000]
 * @property {number} [unsent] how many messages may wait to be acknowledged [100]
 *
 * @typedef {Options & {patience: number, answer: number, silence: number, backoff: number,
 *   backoffMax: number, upgrade: number, unsent: number}} Settings options with their defaults
 * @typedef {{room: string, position: Position}} Place where to read on in a room
 * @typedef {{type: string, room?: string, [key: string]: any}} Frame an object of the protocol
 * @typedef {{retry?: number, error?: ChatError}} End why a link ended; retry in ms
 * @typedef {{up: (user?: string) => void, frame: (frame: Frame) => void, down: (end: End) => void}} Hooks
 * @typedef {Unsent & {flying?: Timer, resting?: Timer, tries: number, refused: boolean,
 *   promise: Promise<string>, resolve: (id: string) => void, reject: (error: ChatError) => void}} Entry
 * @typedef {ReturnType<typeof setTimeout>} Timer
 */

export {};
