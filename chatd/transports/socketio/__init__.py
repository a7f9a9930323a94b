"""Socket.IO 4 clients: Engine.IO 4 over polling and WebSocket, with Socket.IO 5 on top."""
