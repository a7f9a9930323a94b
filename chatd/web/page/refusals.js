/**
 * Refusals in the words of the person in front of the page, and the field they are about.
 *
 * @module page/refusals
 */

import { ChatError } from '../chatd.js';

/**
 * @typedef {'name' | 'room' | 'token'} Field
 * @typedef {{name: string, room: string, token: string}} Entered
 * @typedef {{words: string, field: Field | null}} Refusal
 */

/**
 * @param {unknown} error
 * @param {Entered} entered what was asked for
 * @param {boolean} tokens whether the server asks for tokens
 * @returns {Refusal}
 */
export function explain(error, { name, room, token }, tokens) {
  if (!(error instanceof ChatError)) return { words: String(error), field: null };
  switch (error.code) {
    case 'unknown_room':
      return { words: `There is no room called “${room}” here.`, field: 'room' };
    case 'forbidden':
      return { words: `You may not enter “${room}”. Whoever runs it can let you in.`, field: 'room' };
    case 'unauthorized':
      if (!tokens) return { words: 'Please give a name.', field: 'name' };
      return { words: token ? REFUSED : NEEDED, field: 'token' };
    case 'bad_request':
      return { words: error.message, field: about(error.message, name, room) };
    default:
      return { words: error.message, field: null };
  }
}

/** Why a stay in a room ended. @param {unknown} error @param {string} room @returns {Refusal} */
export function explainEnd(error, room) {
  const code = error instanceof ChatError ? error.code : '';
  if (code === 'unknown_room') return { words: `The room “${room}” was closed.`, field: 'room' };
  if (code === 'forbidden') return { words: `You are no longer let into “${room}”.`, field: 'room' };
  return { words: error instanceof Error ? error.message : String(error), field: null };
}

export const NEEDED = 'This chat admits people by a token. Open the link you were given,'
  + ' or paste the token from it here.';
export const REFUSED = 'Your token has expired, or is not accepted here. Ask for a new link,'
  + ' or paste a new token.';

/** @param {string} words @param {string} name @param {string} room @returns {Field} */
function about(words, name, room) {
  if (/\broom\b/iu.test(words)) return 'room';
  if (/\b(user|name)/iu.test(words)) return 'name';
  return name && !room ? 'room' : 'name';
}
