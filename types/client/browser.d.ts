/** Events of the browser: network lost or back, page shown. */
/** @param {AbortSignal} signal ends it
 * @param {Record<'online' | 'offline' | 'shown', () => void>} hear */
export function listen(signal: AbortSignal, { online, offline, shown }: Record<"online" | "offline" | "shown", () => void>): void;
