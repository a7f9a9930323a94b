// usage: node sockets.mjs MODULES URL ROOM
// What npm's `ws` makes of a WebSocket port: says on, one JSON a line, what it was told.

import { createRequire } from 'node:module';
import { once } from 'node:events';

const [, , modules, url, room] = process.argv;
const { WebSocket } = createRequire(modules)('ws');

const tell = (kind, data) => console.log(JSON.stringify([kind, data ?? null]));

async function open(query, protocol, options) {
  const socket = new WebSocket(`${url}?${query}`, protocol, options);
  const heard = [];
  let wake = () => {};
  socket.on('message', (data, binary) => { heard.push(binary ? data : `${data}`); wake(); });
  const next = async () => {
    while (!heard.length) await new Promise((resolve) => { wake = resolve; });
    return heard.shift();
  };
  await once(socket, 'open');
  return { socket, next };
}

async function closing(socket, code, reason) {
  const closed = once(socket, 'close');
  socket.close(code, reason);
  const [echoed, why] = await closed;
  return [echoed, `${why}`];
}

// compression is offered, as it is by default, and declined
const ann = await open(`username=ann&roomname=${room}`, 'chatd.v1');
tell('extensions', ann.socket.extensions);
tell('welcome', JSON.parse(await ann.next()));
tell('joined', JSON.parse(await ann.next()));
ann.socket.send(JSON.stringify({ type: 'message', room, text: 'by ws', id: 'w-1' }));
const answers = [];
// that ann is present is told at a time of its own
while (answers.length < 2) {
  const { type } = JSON.parse(await ann.next());
  if (type !== 'presence') answers.push(type);
}
tell('answers', answers.sort());
ann.socket.ping('are you there');
tell('pong', `${(await once(ann.socket, 'pong'))[0]}`);
tell('closed', await closing(ann.socket, 4001, 'tschüß'));

const old = await open(`username=old&roomname=${room}`, []);
tell('text', await old.next());
old.socket.send(JSON.stringify({
  status: 'message', message: 'as ever', username: 'old', roomname: room,
}));
tell('text', await old.next());
tell('closed', await closing(old.socket, 1000, ''));

// a refusal has the status of the error and its body
const refused = new WebSocket(`${url}?username=%00`, 'chatd.v1');
const [, response] = await once(refused, 'unexpected-response');
let body = '';
for await (const part of response) body += part;
tell('refused', [response.statusCode, JSON.parse(body).code]);
