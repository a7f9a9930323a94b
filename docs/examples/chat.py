"""A terminal chat: what is typed is said in the room, what is said there is printed.

usage: python docs/examples/chat.py ROOM USER [ws://localhost:9000/]
"""

import json
import sys
from urllib.parse import urlencode

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import endpoints, reactor, stdio
from twisted.protocols.basic import LineReceiver


class Chat(WebSocketClientProtocol):
    """One connection, joined to the room that its URL names."""

    unacknowledged = 0
    finished = False

    def onMessage(self, payload, is_binary):
        frame = json.loads(payload)
        match frame["type"]:
            case "joined":
                stdio.StandardIO(Typing(self, frame["room"]))
            case "message":
                print(f"{frame['user']}: {frame['text']}")
            case "error":
                print(f"({frame['text']})", file=sys.stderr)
            case "ack":
                self.unacknowledged -= 1
        self.end_if_done()

    def end_if_done(self):
        if self.finished and not self.unacknowledged:
            self.sendClose()

    def onClose(self, was_clean, code, reason):
        if reactor.running:
            reactor.stop()


class Typing(LineReceiver):
    """Lines from the keyboard, or from a pipe."""

    delimiter = b"\n"

    def __init__(self, chat, room):
        self.chat = chat
        self.room = room

    def lineReceived(self, line):
        text = line.decode()
        message = {"type": "message", "room": self.room, "text": text}
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


def gave_up(failure):
    print(failure.getErrorMessage(), file=sys.stderr)
    reactor.stop()


main(*sys.argv[1:])
