// usage: node socketio-chat.mjs MODULES URL TRANSPORTS
// Two who talk by the front end of docs/examples; says what each was shown, one JSON a line.

import { createRequire } from 'node:module';
import { once } from 'node:events';
import { chat } from '../../../docs/examples/socketio-chat.mjs';

const [, , modules, url, transports] = process.argv;
const { io } = createRequire(modules)('socket.io-client');

const tell = (kind, data) => console.log(JSON.stringify([kind, data ?? null]));

const people = ['ann', 'ben'].map((user) => {
  const shown = [];
  const heard = new Promise((resolve) => {
    const show = (from, text) => shown.push(`${from}: ${text}`) === 4 && resolve(shown);
    const options = { room: 'lobby', user, transports: transports.split(','), forceNew: true };
    Object.assign(shown, { talk: chat(io, url, { ...options, show }) });
  });
  return { talk: shown.talk, heard };
});
for (const { talk } of people) {
  if (!talk.socket.connected) await once(talk.socket, 'connect');
}
// who has joined is told so before anything that is said after it
for (const { talk } of people) await talk.socket.emitWithAck('join', { room: 'lobby' });
for (const text of ['1', '2']) {
  for (const { talk } of people) tell('ack', (await talk.say(text)).type);
}
for (const { heard } of people) tell('shown', [...(await heard)]);
for (const { talk } of people) talk.close();
