"""A terminal chat: what is typed is said in the room, what is said there is printed.

usage: python docs/examples/chat.py ROOM USER [ws://localhost:9000/]

Ends with status 1 if anything was refused, the room or a message; then standard error says why.
"""

import json
import sys
from secrets import token_hex
from urllib.parse import urlencode

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import endpoints, reactor, stdio
from twisted.protocols.basic import LineReceiver


class Chat(WebSocketClientProtocol):
    """One connection, joined to the room that its URL names."""

    joined = False
    unacknowledged = 0
    finished = False
    refused = False

    def onMessage(self, payload, is_binary):
        frame = json.loads(payload)
        match frame["type"]:
            case "joined":
                self.joined = True
                stdio.StandardIO(Typing(self, frame["room"]))
            case "message":
                print(f"{frame['user']}: {frame['text']}", flush=True)
            case "ack":
                self.unacknowledged -= 1
            case "error":
                self.complain(frame["text"])
                if "id" in frame:
                    self.unacknowledged -= 1
            case "left":
                self.joined = False  # an error follows that says why
        self.end_if_done()

    def complain(self, text):
        self.refused = True
        print(f"({text})", file=sys.stderr)

    def end_if_done(self):
        nowhere = self.refused and not self.joined
        if nowhere or (self.finished and not self.unacknowledged):
            self.sendClose(1000)

    def onClose(self, was_clean, code, reason):
        if not self.closedByMe and not self.refused:
            self.complain(reason or f"The server closed with code {code}.")
        stop(1 if self.refused else 0)


class Typing(LineReceiver):
    """Lines from the keyboard, or from a pipe."""

    delimiter = b"\n"

    def __init__(self, chat, room):
        self.chat = chat
        self.room = room

    def lineReceived(self, line):
        text = line.decode(errors="replace")
        message = {"type": "message", "room": self.room, "text": text, "id": token_hex(8)}
        self.chat.sendMessage(json.dumps(message).encode())
        self.chat.unacknowledged += 1

    def connectionLost(self, reason):
        self.chat.finished = True
        self.chat.end_if_done()


def main(room, user, address="ws://localhost:9000/"):
    url = f"{address}?{urlencode({'roomname': room, 'username': user})}"
    factory = WebSocketClientFactory(url, protocols=["chatd.v1"])
    factory.protocol = Chat
    endpoint = endpoints.HostnameEndpoint(reactor, factory.host, factory.port)
    endpoint.connect(factory).addErrback(gave_up)
    reactor.run()
    sys.exit(status)


def gave_up(failure):
    print(failure.getErrorMessage(), file=sys.stderr)
    stop(1)


status = 0


def stop(code):
    global status
    if reactor.running:
        status = code
        reactor.stop()


main(*sys.argv[1:])
