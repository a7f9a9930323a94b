/** What goes wrong, as applications see it. */

/** The server refused, or cannot be reached (`network`, `timeout`), or the client did
 * (`closed`, `unsent_full`). `code` is otherwise one of the protocol's; `cause` is what was thrown
 * underneath, where something was. */
export class ChatError extends Error {
  /**
   * @param {string} code
   * @param {string} text
   * @param {number} [retry] milliseconds after which to try again, where the server said so
   * @param {unknown} [cause]
   */
  constructor(code, text, retry, cause) {
    super(text, cause === undefined ? undefined : { cause });
    this.name = 'ChatError';
    this.code = code;
    this.retry = retry;
  }

  /** Trying again later may help. */
  get temporary() {
    return ['unavailable', 'rate_limited', 'network', 'timeout'].includes(this.code);
  }
}

/** @param {unknown} error @returns {ChatError} */
export function asChatError(error) {
  return error instanceof ChatError ? error
    : new ChatError('network', String(error), undefined, error);
}

/** @returns {ChatError} */
export function closed() {
  return new ChatError('closed', 'This chat is closed.');
}

/**
 * Throw TypeError for a name that nobody would look at: a slip of the pen is told, not ignored.
 *
 * @param {string} what kind of name
 * @param {object} given its keys are the names
 * @param {readonly string[]} known
 */
export function checkNames(what, given, known) {
  for (const name of Object.keys(given)) {
    if (!known.includes(name)) {
      throw new TypeError(`There is no ${what} "${name}"; there are: ${known.join(', ')}.`);
    }
  }
}

/**
 * As `checkNames`, but a rejected promise: for functions that return one.
 *
 * @param {string} what @param {object} given @param {readonly string[]} known
 * @returns {Promise<never> | undefined}
 */
export function misspelt(what, given, known) {
  try {
    checkNames(what, given, known);
  } catch (error) {
    return Promise.reject(error);
  }
  return undefined;
}
