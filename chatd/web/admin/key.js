/**
 * The key that opens this page: typed in, kept for this tab alone, forgotten when it is closed.
 *
 * @module admin/key
 */

import { passing } from '../page/storage.js';

const NAME = 'chatd:admin';

/** @returns {string} empty if there is none */
export const remembered = () => passing.getItem(NAME) ?? '';

/** @param {string} key */
export const remember = (key) => passing.setItem(NAME, key);

export const forget = () => passing.removeItem(NAME);
