/** Events of the browser: network lost or back, page shown. */

/** @param {AbortSignal} signal ends it
 * @param {Record<'online' | 'offline' | 'shown', () => void>} hear */
export function listen(signal, { online, offline, shown }) {
  const page = globalThis.document;
  globalThis.addEventListener?.('online', online, { signal });
  globalThis.addEventListener?.('offline', offline, { signal });
  page?.addEventListener('visibilitychange', () => page.hidden || shown(), { signal });
}
