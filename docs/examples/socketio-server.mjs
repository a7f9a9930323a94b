// usage: node socketio-server.mjs PORT MODULES
// What socketio-chat.mjs needs of a stock Socket.IO server. MODULES is a package.json beside which
// npm has installed socket.io.

import { createRequire } from 'node:module';

const [, , port, modules] = process.argv;
const { Server } = createRequire(modules)('socket.io');

const io = new Server(Number(port), { cors: { origin: '*' } });
io.on('connection', (socket) => {
  const user = socket.handshake.auth.username;
  socket.on('join', ({ room }, answer) => {
    socket.join(room);
    answer({ type: 'joined', room });
  });
  socket.on('message', ({ room, text, id }, answer) => {
    io.to(room).emit('message', { type: 'message', room, id, user, text });
    answer({ type: 'ack', room, id });
  });
});
