/** Types that several modules use; this file has no code. */

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
 * @property {boolean} [more] of a page read backwards: whether older ones are kept; its `cursor`
 *   is what to pass as `{before: cursor}`
 *
 * @typedef {{after?: string, last?: number, since?: string}} Position
 *   Where to begin, at most one of: after a cursor, N messages from the end, at a time (RFC 3339).
 *   None of them: now.
 *
 * @typedef {{signal?: AbortSignal, timeout?: number}} Patience
 *   How long to wait: until aborted (rejects with its reason), for so many ms (`timeout`).
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
 * @property {number | null} retry while offline: milliseconds until the next try, if one is made
 * @property {ChatError | null} error while offline: why, where known
 *
 * @typedef {object} RoomState
 * @property {'joining' | 'joined' | 'closed'} state joining also while the connection is away
 * @property {ChatError | null} error once closed: why, unless we left
 *
 * @typedef {object} Unsent A message that is not acknowledged yet.
 * @property {string} room
 * @property {string} id
 * @property {string} text
 * @property {Record<string, unknown>} [data]
 * @property {number} at when `send` was called, milliseconds since 1970
 * @property {string} [after] set once it has been on its way, or waits where another tab may
 *   restore and send it: up to where we had read then
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
 * @property {boolean | ((what: string, detail: unknown) => void)} [debug] told what happens: true
 *   writes it to the console
 *
 * @typedef {Options & {patience: number, answer: number, silence: number, backoff: number,
 *   backoffMax: number, upgrade: number, unsent: number}} Settings options with their defaults
 * @typedef {{name: string, position: Position, isJoined: boolean, again: () => Position}} Place
 *   where to read on in a room
 * @typedef {{type: string, room?: string, [key: string]: any}} Frame an object of the protocol
 * @typedef {{text: number, content: number, frame: number, rooms: number}} Limits as the server
 *   says: bytes, and rooms of a WebSocket
 * @typedef {{retry?: number, error?: ChatError, code?: number, isFatal?: boolean}} End
 *   Why a link ended: ms to wait, the error, the WebSocket's close code, and whether that speaks of
 *   what was sent.
 * @typedef {{up: (user?: string) => void, frame: (frame: Frame) => void, down: (end: End) => void}} Hooks
 * @typedef {object} Entry A message in the outbox.
 * @property {Unsent} unsent
 * @property {'waiting' | 'flying' | 'resting'} state
 * @property {Timer} [timer] while flying: until an answer is due; while resting: until it is over
 * @property {number} tries how often it was refused for the time being
 * @property {number} lost how often its connection ended while it was on its way
 * @property {number} fatal how often that was with a close code that speaks of what was sent
 * @property {boolean} renewed whether a token was renewed for it
 * @property {string} key its name in the storage
 * @property {ReturnType<typeof import('./timing.js').deferred<string>>} answer
 *
 * @typedef {object} Owner What a connection asks of the chat, and tells it.
 * @property {() => Place[]} places the rooms to be in, and where to read on
 * @property {(frame: Frame) => void} frame
 * @property {() => void} online
 * @property {(end: End) => void} offline nothing is under way any more
 * @property {(error: ChatError) => void} refused nobody will be let in
 * @property {(event: 'state' | 'error', value: any) => void} tell
 *
 * @typedef {ReturnType<typeof setTimeout>} Timer
 */

export {};
