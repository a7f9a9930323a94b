/** Trying better transports beside the one in use. */

/**
 * @typedef {import('./loader.js').Kit} Kit
 * @typedef {import('./loader.js').Link} Link
 * @typedef {import('../connection.js').Connection} Connection
 */

/** The longest time until a better transport is tried again, in ms. */
const DELAY_MAX = 30 * 60_000;

/**
 * Try them now and then, more and more rarely, and change over to one that works.
 *
 * @param {Kit} kit @param {Connection} connection
 * @param {AbortSignal} over fires when what is in use has ended
 */
export async function improve({ sleep }, connection, over) {
  while (await sleep(connection.delay * (0.5 + Math.random() / 2), over)) {
    connection.delay = Math.min(connection.delay * 2, DELAY_MAX);
    for (let level = 0; level < connection.transports.level && !over.aborted; level += 1) {
      const better = await connection.make(level);
      const works = await tried(better, connection);
      if (works && !over.aborted) return connection.change(better, level);
      better.close();
    }
  }
}

/** @param {Link} link @param {Connection} connection @returns {Promise<boolean>} whether it works */
async function tried(link, connection) {
  const { joined } = connection;
  if (!joined) return false;
  if ('works' in link) return link.works(joined.name, joined.position);
  return new Promise((resolve) => {
    link.hooks = { up: () => resolve(connection.fits), frame() {}, down: () => resolve(false) };
    link.open();
  });
}
