/** Events of the browser: network lost or back, page shown, or left (and perhaps come back to). */
/** @param {AbortSignal} signal ends it
 * @param {Record<'online' | 'offline' | 'pagehide' | 'shown', () => void>} hear */
export function listen(signal: AbortSignal, { shown, ...others }: Record<"online" | "offline" | "pagehide" | "shown", () => void>): void;
