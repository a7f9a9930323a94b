// A broadcast room as one would write it with Node's ws: node ws.cjs PORT
const { WebSocketServer } = require("ws");

const port = Number(process.argv[2]);
const room = new WebSocketServer({ host: "127.0.0.1", port, backlog: 4096, perMessageDeflate: false });
room.on("connection", (socket) => {
  socket.on("message", (text) => {
    for (const other of room.clients) {
      if (other.readyState === 1) other.send(text, { binary: false });
    }
  });
});
