/** Events of the browser: network lost or back, page shown, or left (and perhaps come back to). */

/** @param {AbortSignal} signal ends it
 * @param {Record<'online' | 'offline' | 'pagehide' | 'shown', () => void>} hear */
export function listen(signal, { shown, ...others }) {
  const page = globalThis.document;
  for (const [name, hear] of Object.entries({ ...others, pageshow: shown })) {
    globalThis.addEventListener?.(name, hear, { signal });
  }
  page?.addEventListener('visibilitychange', () => page.hidden || shown(), { signal });
}
