// usage: node socketio_server.mjs PORT MODULES
// A stock Socket.IO server that does for the benchmark of the fan-out what chatd does: messages of
// the same fields to everyone in a room. MODULES is a package.json beside which npm has installed it.

import { createRequire } from 'node:module';
import { randomUUID } from 'node:crypto';

const [, , port, modules] = process.argv;
const { Server } = createRequire(modules)('socket.io');

const io = new Server(Number(port));
let offset = 0;
io.on('connection', (socket) => {
  const user = socket.handshake.query.username;
  socket.join('lobby');
  socket.emit('joined', { type: 'joined', room: 'lobby' });
  socket.on('message', ({ room, text }) => {
    const cursor = `0123456789ab:${offset++}`;
    const time = new Date().toISOString();
    io.to(room).emit('message', { type: 'message', room, cursor, id: randomUUID(), user, text, time });
  });
});
