/** What the server tells of one room, for all handles to it. */
export class Seat {
    /**
     * @param {string} name
     * @param {Position} start
     * @param {() => void} current called when the past has been read
     */
    constructor(name: string, start: Position, current: () => void);
    /** @type {Set<Room>} */
    handles: Set<Room>;
    /** @type {string[]} */
    members: string[];
    count: number;
    /** @type {string | null} where we are */
    cursor: string | null;
    /** Up to where the handles were told: a room that is joined again begins before that.
     * @type {string | null} */
    told: string | null;
    /** @type {RoomState} */
    state: RoomState;
    /** The server has let us in once. */
    entered: {
        promise: Promise<any>;
        resolve: (value: any) => void;
        reject: (error: unknown) => void;
    };
    hasEntered: boolean;
    /** The past has been read since we came in; anew after each interruption. */
    current: {
        promise: Promise<any>;
        resolve: (value: any) => void;
        reject: (error: unknown) => void;
    };
    isCurrent: boolean;
    /** How many handles were given out and not left, those still joining included. */
    wanted: number;
    name: string;
    /** Where to read on. @returns {Position} */
    get position(): Position;
    /** Where we are, to be asked for once more: what is on its way already comes twice then.
     * @returns {Position} */
    again(): Position;
    get isJoined(): boolean;
    /** @param {Frame} frame */
    receive(frame: Frame): void;
    /** The link has ended. */
    away(): void;
    /** We are in it no more. @param {ChatError} [error] why, unless we left */
    end(error?: ChatError): void;
    /**
     * @template {keyof RoomEvents} Name
     * @param {Name} name @param {RoomEvents[Name]} value
     */
    tell<Name extends keyof RoomEvents>(name: Name, value: RoomEvents[Name]): void;
    #private;
}
export type ChatError = import("./errors.js").ChatError;
export type Room = import("./room.js").Room;
export type RoomEvents = import("./room.js").RoomEvents;
export type Frame = import("./types.js").Frame;
export type Message = import("./types.js").Message;
export type Position = import("./types.js").Position;
export type RoomState = import("./types.js").RoomState;
export type Timer = import("./types.js").Timer;
