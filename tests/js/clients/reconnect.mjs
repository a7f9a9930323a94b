// usage: node reconnect.mjs MODULES URL
// npm's reconnecting-websocket over `ws`: joins again from where it was, each time it is back.

import { createRequire } from 'node:module';

const [, , modules, url] = process.argv;
const require = createRequire(modules);
const ReconnectingWebSocket = require('reconnecting-websocket');
const { WebSocket } = require('ws');

const tell = (kind, data) => console.log(JSON.stringify([kind, data ?? null]));

const options = { WebSocket, minReconnectionDelay: 50, maxReconnectionDelay: 500 };
const socket = new ReconnectingWebSocket(url, 'chatd.v1', options);
let after;
const join = () => socket.send(JSON.stringify({ type: 'join', room: 'lobby', after }));
socket.onopen = join;
socket.onclose = ({ code }) => tell('close', code);
socket.onmessage = ({ data }) => {
  const frame = JSON.parse(data);
  if (frame.cursor) after = frame.cursor;
  tell(frame.type, frame);
  // a node that has just started may not have its broker yet
  if (frame.code === 'unavailable') setTimeout(join, 100);
};
