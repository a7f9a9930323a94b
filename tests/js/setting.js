/** What the tests of the client share: a small chatd of their own, and chats that are closed. */
import { afterEach, beforeEach } from 'node:test';

import { Chat } from '../../chatd/web/chatd.js';
import { FakeServer } from './server.js';

/** Short where nobody waits for an answer: a busy machine may take its time. */
const QUICK = {
  patience: 10_000, answer: 20_000, silence: 60_000, backoff: 20, backoffMax: 60, upgrade: 60_000 };

/** Call once in a file or suite: `setting.server` and `setting.url` are new for each test in it. */
export function begin() {
  const setting = { server: new FakeServer(), url: '', chats: [] };

  beforeEach(async () => {
    setting.server = new FakeServer();
    setting.url = await setting.server.listen();
  });

  afterEach(async () => {
    setting.chats.splice(0).forEach((chat) => chat.close());
    await setting.server.close();
  });

  setting.connect = (options = {}) => {
    const { WebSocket } = setting.server;
    const chat = new Chat(setting.url, { user: 'ann', WebSocket, ...QUICK, ...options });
    setting.chats.push(chat);
    chat.states = [];
    chat.on('state', ({ state }) => chat.states.push(state));
    return chat;
  };
  return setting;
}

export function collect(room) {
  const texts = [];
  room.on('message', ({ text }) => texts.push(text));
  return texts;
}
