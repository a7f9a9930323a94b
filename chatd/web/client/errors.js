/** What goes wrong, as applications see it. */

/** The server refused, or cannot be reached (`network`, `timeout`), or the client did
 * (`closed`, `unsent_full`). `code` is otherwise one of the protocol's. */
export class ChatError extends Error {
  /**
   * @param {string} code
   * @param {string} text
   * @param {number} [retry] milliseconds after which to try again, where the server said so
   */
  constructor(code, text, retry) {
    super(text);
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
  return error instanceof ChatError ? error : new ChatError('network', String(error));
}

/** @returns {ChatError} */
export function closed() {
  return new ChatError('closed', 'This chat is closed.');
}
