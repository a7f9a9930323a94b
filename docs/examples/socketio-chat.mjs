// A chat in thirty lines, for stock socket.io-client 4. It talks to chatd, and to a stock Socket.IO
// server with the few lines of socketio-server.mjs alike.

export function chat(io, url, { room, user, show, ...options }) {
  const socket = io(url, { auth: { username: user }, ...options });
  let after; // the cursor of the newest message shown: what comes next continues from there

  // by a callback: after an `await` the first messages would have been shown already
  socket.on('connect', () => socket.emit('join', { room, after }, (joined) => {
    if (joined.type === 'error') return show('', joined.text);
    if (joined.gap) show('', 'Messages are missing here: they are no longer kept.');
    after = joined.cursor;
  }));
  socket.on('message', (message) => {
    after = message.cursor;
    show(message.user, message.text);
  });

  async function say(text) {
    const message = { room, text, id: crypto.randomUUID() };
    while (socket.active) {
      try {
        return await socket.timeout(10_000).emitWithAck('message', message);
      } catch {
        // not answered: sent again under its id, of which chatd keeps one
      }
    }
    throw new Error('The server has disconnected you.');
  }

  return { say, socket, close: () => socket.close() };
}
