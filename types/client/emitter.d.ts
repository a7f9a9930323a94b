/**
 * Call an application's function; what it throws is its own affair, not the connection's.
 *
 * @template {any[]} Values
 * @param {(...values: Values) => void} listener
 * @param {Values} values
 */
export function call<Values extends any[]>(listener: (...values: Values) => void, ...values: Values): void;
/** @template {Record<string, any>} Events */
export class Emitter<Events extends Record<string, any>> {
    /** @param {readonly string[]} events their names */
    constructor(events: readonly string[]);
    /**
     * Call `listener` at each event `name`.
     *
     * @template {keyof Events & string} Name
     * @param {Name} name
     * @param {(value: Events[Name]) => void} listener
     * @returns {() => void} ends it
     */
    on<Name extends keyof Events & string>(name: Name, listener: (value: Events[Name]) => void): () => void;
    /**
     * Call `listener` at the next event `name` only.
     *
     * @template {keyof Events & string} Name
     * @param {Name} name
     * @param {(value: Events[Name]) => void} listener
     * @returns {() => void} ends it
     */
    once<Name extends keyof Events & string>(name: Name, listener: (value: Events[Name]) => void): () => void;
    /**
     * Call `listener` at the event `name` no more.
     *
     * @template {keyof Events & string} Name
     * @param {Name} name
     * @param {(value: Events[Name]) => void} listener
     */
    off<Name extends keyof Events & string>(name: Name, listener: (value: Events[Name]) => void): void;
    /**
     * @param {string} name @param {Function} listener @param {(value: any) => void} heard
     * @returns {() => void} @protected
     */
    protected _listen(name: string, listener: Function, heard: (value: any) => void): () => void;
    /**
     * @template {keyof Events & string} Name
     * @param {Name} name @param {Events[Name]} value
     * @package
     */
    _emit<Name extends keyof Events & string>(name: Name, value: Events[Name]): void;
    #private;
}
