"""The other end of a `Client`, in memory: what a broker would say, and what the client said."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from txamqp.connection import Method

from chatd.amqp.channel import Channel, Reason
from chatd.amqp.client import Client
from chatd.amqp.codec import decode_method, encode_method, encode_properties
from chatd.amqp.deliveries import Delivery
from chatd.amqp.spec import SPEC

#: The `txamqp.spec.Method` of a name such as ``basic.consume``.
method = SPEC.parse_method

_DEFAULTS: dict[str, Any] = {"shortstr": "", "longstr": "", "table": {}}


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return bytes([kind]) + channel.to_bytes(2) + len(payload).to_bytes(4) + payload + b"\xce"


def method_frame(channel: int, name: str, **given: Any) -> bytes:
    """A method's frame; arguments not given are zero or empty."""
    what = method(name)
    args = [given.pop(f.name.replace("-", "_"), _DEFAULTS.get(f.type, 0)) for f in what.fields]
    assert not given, given
    return frame(1, channel, encode_method(Method(what, *args)))


def content(channel: int, body: bytes, properties: dict[str, Any], pieces: int = 1) -> list[bytes]:
    """A header frame, and the body in as many frames as asked for."""
    head = b"\0\x3c\0\0" + len(body).to_bytes(8) + encode_properties(properties)
    size = -(-len(body) // pieces) or 1
    parts = [body[n : n + size] for n in range(0, len(body), size)]
    return [frame(2, channel, head), *[frame(3, channel, part) for part in parts]]


def delivery(
    channel: int,
    consumer: str,
    tag: int,
    body: bytes,
    offset: int | None = None,
    properties: dict[str, Any] | None = None,
    pieces: int = 1,
) -> list[bytes]:
    """The frames of one message from a stream."""
    given = dict(properties or {})
    if offset is not None:
        given["headers"] = {**given.get("headers", {}), "x-stream-offset": offset}
    deliver = method_frame(
        channel, "basic.deliver", consumer_tag=consumer, delivery_tag=tag, routing_key="r"
    )
    return [deliver, *content(channel, body, given, pieces)]


class Transport(StringTransport):
    """Remembers how it was ended, and tells its protocol no sooner than `Server.lose`."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = self.disconnecting = True


class Server:
    """A client that is connected, and its broker's part of the conversation."""

    def __init__(self, heartbeat: int = 0) -> None:
        self.clock = Clock()
        self.lost: list[Reason] = []
        self.client = Client(self.clock, "chat", heartbeat, {"product": "test"}, self.lost.append)
        self.transport = Transport()
        self.client.makeConnection(self.transport)
        self.header = self.sent()

    def send(self, *data: bytes) -> None:
        self.client.dataReceived(b"".join(data))

    def say(self, channel: int, name: str, **given: Any) -> None:
        self.send(method_frame(channel, name, **given))

    def sent(self) -> bytes:
        """What the client wrote since the last time."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def heard(self) -> list[tuple[int, str, dict[str, Any]]]:
        """The methods the client wrote since the last time: channel, name, arguments."""
        data, methods = self.sent(), []
        while data:
            size = int.from_bytes(data[3:7])
            if data[0] == 1:
                got = decode_method(data[7 : 7 + size])
                names = [f.name.replace("-", "_") for f in got.method.fields]
                name = f"{got.method.klass.name}.{got.method.name}"
                args = dict(zip(names, got.args, strict=True))
                methods.append((int.from_bytes(data[1:3]), name, args))
            data = data[8 + size :]
        return methods

    def names(self) -> list[str]:
        return [name for _, name, _ in self.heard()]

    def answer(self) -> list[str]:
        """Agree to what is asked until nothing is; what that was."""
        asked = []
        while heard := self.heard():
            for number, name, _ in heard:
                if not name.endswith("-ok"):
                    asked.append(name)
                    self.say(number, f"{name}-ok")
        return asked

    def tuned(self, **limits: int) -> Server:
        """Do the handshake."""
        self.opened = self.client.authenticate("ann", "s3crét", "PLAIN")
        self.say(0, "connection.start", mechanisms="AMQPLAIN PLAIN", locales="en_US")
        self.say(0, "connection.tune", **{"channel_max": 2047, "frame_max": 131072, **limits})
        self.say(0, "connection.open-ok")
        self.sent()
        return self

    def channel(self) -> Channel:
        """Open a channel."""
        opening: list[Channel] = []
        done = Deferred.fromCoroutine(self.client.open_channel())
        done.addCallback(opening.append)
        number = self.heard()[0][0]
        self.say(number, "channel.open-ok")
        return opening[0]

    def lose(self) -> None:
        """The connection is gone."""
        self.client.connectionLost(Failure(ConnectionLost()))


class Consuming(SynchronousTestCase):
    """Helper: a client with a consumer."""

    def setUp(self) -> None:
        self.server = Server().tuned()
        self.channel = self.server.channel()
        self.batches: list[list[Delivery]] = []
        self.consume(self.channel, "c", self.batches.append)

    def consume(self, channel: Channel, tag: str, handler: Any) -> Deferred[Any]:
        consuming = self.server.client.consume(
            channel, "q", tag, handler, lambda: self.batches.append([]), {"x-stream-offset": 7}
        )
        [(number, name, args)] = self.server.heard()
        self.assertEqual((number, name), (channel.id, "basic.consume"))
        self.assertEqual(args["arguments"], {"x-stream-offset": 7})
        self.assertIs(args["no_ack"], False)
        self.server.say(channel.id, "basic.consume-ok", consumer_tag=tag)
        self.successResultOf(consuming)
        return consuming

    @property
    def bodies(self) -> list[bytes]:
        return [one.body for batch in self.batches for one in batch]
