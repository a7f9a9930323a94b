/** Timers that run while a link is up. */
export class Upkeep {
    /** @param {Wire} wire @param {Settings} options @param {Duties} duties */
    constructor(wire: Wire, options: Settings, duties: Duties);
    /** @param {Link} link @param {boolean} isBest whether there is no better transport */
    begin(link: Link, isBest: boolean): void;
    end(): void;
    /** The network is another one: what did not work may work. @param {boolean} isBest */
    moved(isBest: boolean): void;
    #private;
}
export type Settings = import("./types.js").Settings;
export type Timer = import("./types.js").Timer;
export type Wire = import("./wire.js").Wire;
/**
 * What is looked after.
 */
export type Link = {
    /**
     * ms since something was heard
     */
    idle: number;
    /**
     * the wire has a new token
     */
    renew: () => void;
};
export type Duties = {
    /**
     * whether the link is still there
     */
    check: () => void;
    /**
     * try better transports; whether one was taken
     */
    upgrade: () => Promise<boolean>;
    /**
     * no new token could be had
     */
    tokenless: (error: unknown) => void;
};
