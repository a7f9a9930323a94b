/** The tabs that have this server open, this one among them. */
export class Tabs {
    /**
     * @param {string} server its address @param {string} tab an id of this one
     * @param {AbortSignal} closed this tab has done with it
     */
    constructor(server: string, tab: string, closed: AbortSignal);
    /** Called when waiting connections must be given up: there are more tabs than before. */
    crowded: () => void;
    /**
     * The right to hold one more connection that waits.
     *
     * @returns {Promise<(() => void) | null>} gives it back; null if there are enough already
     */
    slot(): Promise<(() => void) | null>;
    /**
     * The right to read a room for all tabs of this user, where tabs can share.
     *
     * @param {string} what user and room
     * @returns {Promise<Share | null>}
     */
    share(what: string): Promise<Share | null>;
    #private;
}
/**
 * One room that several tabs read.
 */
export type Share = {
    /**
     * from the tab that leads to those that follow
     */
    channel: BroadcastChannel;
    leads: boolean;
    /**
     * called when we come to lead
     */
    granted: () => void;
    leave: () => void;
};
