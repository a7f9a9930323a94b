/**
 * A room that we are in; each `Chat.join` makes one. `for await` gives its messages, and so does
 * `on('message')`; each of these gets them from where one joined.
 *
 * @extends {Emitter<RoomEvents>}
 */
export class Room extends Emitter<RoomEvents> {
    /** @param {Seat} seat @param {Desk} desk @package */
    constructor(seat: Seat, desk: Desk);
    get name(): string;
    /** Who is here, sorted. */
    get members(): string[];
    /** How many are here. */
    get count(): number;
    /** Where we are: `{after: cursor}` goes on behind the last message. */
    get cursor(): string | null;
    /** Whether messages asked for are no longer kept. */
    get gap(): boolean;
    /** @returns {RoomState} */
    get state(): RoomState;
    /** Our messages that are not acknowledged, restored ones included, oldest first. */
    get unsent(): import("./types.js").Unsent[];
    /**
     * Send a message; resolves with its id once the server has stored it. Offline it waits and is
     * sent later, under the same id. Rejects with a ChatError if it cannot be stored. Given up
     * (`signal`, `timeout`) it is not sent any more; on its way it may arrive all the same.
     *
     * @param {string} text
     * @param {{id?: string, data?: Record<string, unknown>} & Patience} [more]
     * @returns {Promise<string>}
     */
    send(text: string, more?: {
        id?: string;
        data?: Record<string, unknown>;
    } & Patience): Promise<string>;
    /** Tell the others that we are typing; call it at each key, it is passed on now and then. */
    typing(): void;
    /** Leave; iteration ends. Other handles to the room stay. */
    leave(): void;
    /**
     * Stored messages, oldest first: from a position on, or those `before` a cursor.
     *
     * @param {Position & {before?: string, limit?: number} & Patience} query limit is 100 by
     *   default, at most 1000
     * @returns {Promise<Page>}
     */
    history(query: Position & {
        before?: string;
        limit?: number;
    } & Patience): Promise<Page>;
    /**
     * Up to `count` messages that precede `message`, oldest first; none if it is the oldest kept.
     *
     * @param {Message} message @param {number} [count]
     * @returns {Promise<Message[]>}
     */
    before(message: Message, count?: number): Promise<Message[]>;
    /** Begin with what lies at `position` in a room that others have joined before: what follows on it
     * may have come live, though the server does not tell it yet. @param {Position} position @package */
    _load(position: Position): Promise<void>;
    /** @param {string | null} cursor where it ends @package */
    _gapped(cursor: string | null): void;
    /** @param {Message} message @package */
    _push(message: Message): void;
    /** @param {ChatError} [error] @package */
    _end(error?: ChatError): void;
    /** @returns {AsyncIterator<Message, undefined>} */
    [Symbol.asyncIterator](): AsyncIterator<Message, undefined>;
    #private;
}
export type ChatError = import("./errors.js").ChatError;
export type Seat = import("./seat.js").Seat;
export type Message = import("./types.js").Message;
export type Page = import("./types.js").Page;
export type Patience = import("./types.js").Patience;
export type Position = import("./types.js").Position;
export type Presence = import("./types.js").Presence;
export type RoomState = import("./types.js").RoomState;
export type RoomEvents = {
    /**
     * each message once, in order
     */
    message: Message;
    presence: Presence;
    typing: {
        user: string;
    };
    /**
     * messages before the next one are no longer kept
     */
    gap: {
        cursor: string | null;
    };
    /**
     * a message of ours is acknowledged
     */
    sent: {
        id: string;
    };
    /**
     * a message of ours is refused for good
     */
    failed: {
        id: string;
        error: ChatError;
    };
    state: RoomState;
    /**
     * back after an interruption: so many messages
     * were read that had been missed, and whether some are lost
     */
    recovered: {
        count: number;
        gap: boolean;
    };
    /**
     * the room is gone, or the right to it
     */
    closed: ChatError;
};
/**
 * What a room asks of its chat.
 */
export type Desk = {
    wire: import("./wire.js").Wire;
    options: import("./types.js").Settings;
    sender: import("./sender.js").Sender;
    http: () => Promise<{
        read: (room: string, how: object) => Promise<Page>;
    }>;
    typing: () => void;
    leave: () => void;
};
import { Emitter } from './emitter.js';
