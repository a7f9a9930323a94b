/**
 * What one has begun to write, by who one is and where: it is there again after a reload, and when
 * one comes back from another room.
 *
 * @module page/drafts
 */

import { passing } from './storage.js';

/** @param {string} me @param {string} room @returns {string} empty if there is none */
export function draft(me, room) {
  return passing.getItem(nameOf(me, room)) ?? '';
}

/** @param {string} me @param {string} room @param {string} text */
export function keepDraft(me, room, text) {
  const name = nameOf(me, room);
  if (text) passing.setItem(name, text);
  else passing.removeItem(name);
}

/** @param {string} me @param {string} room */
function nameOf(me, room) {
  return `chatd:draft:${me}\n${room}`;
}
