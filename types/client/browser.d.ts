/** What a browser tells: of the network, and whether someone looks. */
/** @param {AbortSignal} signal ends it
 * @param {Record<'online' | 'offline' | 'shown', () => void>} hear */
export function listen(signal: AbortSignal, { online, offline, shown }: Record<"online" | "offline" | "shown", () => void>): void;
