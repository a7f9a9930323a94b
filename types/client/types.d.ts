export type ChatError = import("./errors.js").ChatError;
/**
 * What a room carries.
 */
export type Message = {
    type: "message";
    room: string;
    /**
     * opaque place in the room; reading "after" it continues behind this
     */
    cursor: string;
    /**
     * unique for this user in this room
     */
    id: string;
    user: string;
    text: string;
    /**
     * RFC 3339, UTC, milliseconds
     */
    time: string;
    /**
     * the application's own
     */
    data?: Record<string, unknown> | undefined;
};
/**
 * Stored messages, as `Room.history` returns them.
 */
export type Page = {
    messages: Message[];
    /**
     * to go on reading with `{after: cursor}`
     */
    cursor: string;
    /**
     * whether messages after the cursor asked for are no longer kept
     */
    gap: boolean;
    /**
     * of a page read backwards: whether older ones are kept; its `cursor`
     * is what to pass as `{before: cursor}`
     */
    more?: boolean | undefined;
};
/**
 * Where to begin, at most one of: after a cursor, N messages from the end, at a time (RFC 3339).
 * None of them: now.
 */
export type Position = {
    after?: string;
    last?: number;
    since?: string;
};
/**
 * How long to wait: until aborted (rejects with its reason), for so many ms (`timeout`).
 */
export type Patience = {
    signal?: AbortSignal;
    timeout?: number;
};
export type Presence = {
    /**
     * everyone here, sorted; cut above the server's presence limit
     */
    members: string[];
    /**
     * how many are here
     */
    count: number;
    /**
     * who came since the last event
     */
    joined: string[];
    /**
     * who went since the last event
     */
    left: string[];
};
export type Transport = "websocket" | "sse" | "poll";
export type State = {
    state: "connecting" | "online" | "offline";
    /**
     * while online
     */
    transport: Transport | null;
    /**
     * while offline: milliseconds until the next try, if one is made
     */
    retry: number | null;
    /**
     * while offline: why, where known
     */
    error: ChatError | null;
};
export type RoomState = {
    /**
     * joining also while the connection is away
     */
    state: "joining" | "joined" | "closed";
    /**
     * once closed: why, unless we left
     */
    error: ChatError | null;
};
/**
 * A message that is not acknowledged yet.
 */
export type Unsent = {
    room: string;
    id: string;
    text: string;
    data?: Record<string, unknown> | undefined;
    /**
     * when `send` was called, milliseconds since 1970
     */
    at: number;
    /**
     * set once it has been on its way, or waits where another tab may
     * restore and send it: up to where we had read then
     */
    after?: string | undefined;
};
export type Options = {
    /**
     * open mode: who to be; without it a guest with a random name
     */
    user?: string | undefined;
    /**
     * token mode: gives a JWT that is valid now;
     * asked again before it expires and when the server refuses it
     */
    token?: (() => string | Promise<string>) | undefined;
    /**
     * such as localStorage: unsent messages and the transport that worked survive a reload
     */
    storage?: Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length"> | undefined;
    /**
     * which to try, best first. By default those whose browser
     * interface (WebSocket, EventSource) exists, and poll. Event streams are read with fetch, which
     * can send a token in a header; a missing EventSource is taken as "no event streams here", so
     * under Node name 'sse' to use them.
     */
    transports?: Transport[] | undefined;
    /**
     * in place of the global one
     */
    WebSocket?: {
        new (url: string | URL, protocols?: string | string[]): WebSocket;
        prototype: WebSocket;
        readonly CONNECTING: 0;
        readonly OPEN: 1;
        readonly CLOSING: 2;
        readonly CLOSED: 3;
    } | undefined;
    /**
     * in place of the global one
     */
    fetch?: typeof fetch | undefined;
    /**
     * ms in which a transport must prove that it works [4000]
     */
    patience?: number | undefined;
    /**
     * ms in which a request must be answered [20000]
     */
    answer?: number | undefined;
    /**
     * ms without a frame after which a WebSocket is checked [60000]
     */
    silence?: number | undefined;
    /**
     * ms, the ceiling of the first wait before reconnecting [500]
     */
    backoff?: number | undefined;
    /**
     * ms, the ceiling of the longest such wait [30000]
     */
    backoffMax?: number | undefined;
    /**
     * ms until a better transport is first tried again [30000]
     */
    upgrade?: number | undefined;
    /**
     * how many messages may wait to be acknowledged [100]
     */
    unsent?: number | undefined;
    /**
     * told what happens: true
     * writes it to the console
     */
    debug?: boolean | ((what: string, detail: unknown) => void) | undefined;
};
/**
 * options with their defaults
 */
export type Settings = Options & {
    patience: number;
    answer: number;
    silence: number;
    backoff: number;
    backoffMax: number;
    upgrade: number;
    unsent: number;
};
/**
 * where to read on in a room
 */
export type Place = {
    name: string;
    position: Position;
    isJoined: boolean;
    again: () => Position;
};
/**
 * an object of the protocol
 */
export type Frame = {
    type: string;
    room?: string;
    [key: string]: any;
};
/**
 * as the server
 * says: bytes, and rooms of a WebSocket
 */
export type Limits = {
    text: number;
    content: number;
    frame: number;
    rooms: number;
};
/**
 * Why a link ended: ms to wait, the error, the WebSocket's close code, and whether that speaks of
 * what was sent.
 */
export type End = {
    retry?: number;
    error?: ChatError;
    code?: number;
    isFatal?: boolean;
};
export type Hooks = {
    up: (user?: string) => void;
    frame: (frame: Frame) => void;
    down: (end: End) => void;
};
/**
 * A message in the outbox.
 */
export type Entry = {
    unsent: Unsent;
    state: "waiting" | "flying" | "resting";
    /**
     * while flying: until an answer is due; while resting: until it is over
     */
    timer?: number | undefined;
    /**
     * how often it was refused for the time being
     */
    tries: number;
    /**
     * how often its connection ended while it was on its way
     */
    lost: number;
    /**
     * how often that was with a close code that speaks of what was sent
     */
    fatal: number;
    /**
     * whether a token was renewed for it
     */
    renewed: boolean;
    /**
     * its name in the storage
     */
    key: string;
    answer: ReturnType<typeof import("./timing.js").deferred<string>>;
};
/**
 * What a connection asks of the chat, and tells it.
 */
export type Owner = {
    /**
     * the rooms to be in, and where to read on
     */
    places: () => Place[];
    frame: (frame: Frame) => void;
    online: () => void;
    /**
     * nothing is under way any more
     */
    offline: (end: End) => void;
    /**
     * nobody will be let in
     */
    refused: (error: ChatError) => void;
    tell: (event: "state" | "error", value: any) => void;
};
export type Timer = ReturnType<typeof setTimeout>;
