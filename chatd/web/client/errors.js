/** The errors that applications get. */

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

/** @param {unknown} error what the application's function threw @returns {ChatError} */
export function noToken(error) {
  return new ChatError('unauthorized', `No token: ${error}`, undefined, error);
}

/**
 * Throw TypeError for a name that nobody would look at: a slip of the pen is told, not ignored.
 *
 * @param {string} what kind of name
 * @param {string[]} names
 * @param {readonly string[]} known
 */
export function checkNames(what, names, known) {
  for (const name of names) {
    if (!known.includes(name)) {
      throw new TypeError(`There is no ${what} "${name}"; there are: ${known.join(', ')}.`);
    }
  }
}

/**
 * What `act` gives; undefined if it throws.
 *
 * @template T
 * @param {() => T} act
 * @returns {T | undefined}
 */
export function attempt(act) {
  try {
    return act();
  } catch {
    return undefined;
  }
}
