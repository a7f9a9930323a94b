"""A relay before a real RabbitMQ that does with publishes what a broker must not.

It reads AMQP 0-9-1 frames on both sides (section 2.3 of the specification, and RabbitMQ's
https://www.rabbitmq.com/confirms.html), keeps back or doubles what is published, and gives, keeps
or renumbers the confirms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.internet.protocol import Factory, Protocol

from tests.support.amqp_server import method_frame
from tests.support.lying_broker import LATE, Lie

_HEADER = b"AMQP\0\0\x09\x01"
_OPEN, _CLOSE, _CONFIRM = b"\0\x14\0\x0a", b"\0\x14\0\x28", b"\0\x55\0\x0a"
_PUBLISH, _ACK = b"\0\x3c\0\x28", b"\0\x3c\0\x50"


def split(buffer: bytes) -> tuple[list[bytes], bytes]:
    """The complete frames at the head of ``buffer``, and the rest."""
    frames = []
    while len(buffer) >= 8:
        end = 8 + int.from_bytes(buffer[3:7])
        if len(buffer) < end:
            break
        frames.append(buffer[:end])
        buffer = buffer[end:]
    return frames, buffer


def channel_of(frame: bytes) -> int:
    return int.from_bytes(frame[1:3])


@define(eq=False)
class _Confirms:
    """The numbers of one channel in confirm mode: the client's, and the server's."""

    asked: int = 0
    sent: int = 0
    #: The server's numbers without a confirm, each with the client's; None to keep it back.
    waiting: dict[int, int | None] = field(factory=dict)

    def expect(self, number: int | None) -> None:
        self.sent += 1
        self.waiting[self.sent] = number

    def confirmed(self, number: int, multiple: bool) -> list[int]:
        """The client's numbers that the server's confirm stands for."""
        done = [n for n in self.waiting if n == number or (multiple and n <= number)]
        return [own for n in done if (own := self.waiting.pop(n)) is not None]


@define(eq=False)
class _Publish:
    frames: list[bytes]
    missing: int = -1

    @property
    def body(self) -> bytes:
        return b"".join(frame[7:-1] for frame in self.frames[2:])


class _Server(Protocol):
    """The connection to RabbitMQ."""

    def __init__(self, client: _Client) -> None:
        self.client = client
        self.rest = b""

    def dataReceived(self, data: bytes) -> None:
        frames, self.rest = split(self.rest + data)
        for frame in frames:
            confirms = self.client.confirms.get(channel_of(frame))
            if confirms is not None and frame[7:11] == _ACK:
                number = int.from_bytes(frame[11:19])
                for own in confirms.confirmed(number, bool(frame[19])):
                    self.client.confirm(channel_of(frame), own)
            else:
                self.client.write(frame)

    def connectionLost(self, reason: object = None) -> None:
        self.client.end()


class _Client(Protocol):
    """The connection of chatd."""

    transport: Any

    def __init__(self, liar: Liar) -> None:
        self.liar = liar
        self.confirms: dict[int, _Confirms] = {}
        #: Channels without confirms, over which what is late is stored.
        self.free: set[int] = set()
        self.server: Any = None
        self.rest = b""
        self.greeted = False
        self.publishes: dict[int, _Publish] = {}

    def connectionMade(self) -> None:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.liar.target)
        factory = Factory.forProtocol(lambda: _Server(self))
        factory.noisy = False
        endpoint.connect(factory).addCallbacks(self._connected, lambda _: self.end())
        self.transport.pauseProducing()

    def _connected(self, server: Any) -> None:
        self.server = server.transport
        self.transport.resumeProducing()

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def confirm(self, channel: int, number: int) -> None:
        self.write(method_frame(channel, "basic.ack", delivery_tag=number))

    def end(self) -> None:
        ends: tuple[Any, ...] = (self.transport, self.server)
        for one in ends:
            if one is not None:
                one.abortConnection()

    def connectionLost(self, reason: object = None) -> None:
        self.end()

    def dataReceived(self, data: bytes) -> None:
        self.rest += data
        if not self.greeted and len(self.rest) >= 8:
            self.greeted = True
            assert self.rest.startswith(_HEADER)
            self.server.write(self.rest[:8])
            self.rest = self.rest[8:]
        frames, self.rest = split(self.rest) if self.greeted else ([], self.rest)
        for frame in frames:
            self._frame(frame)

    def _frame(self, frame: bytes) -> None:
        channel, name = channel_of(frame), frame[7:11] if frame[0] == 1 else b""
        if name == _OPEN:
            self.confirms.pop(channel, None)
            self.free.add(channel)
        elif name == _CONFIRM:
            self.confirms[channel] = _Confirms()
            self.free.discard(channel)
        elif name == _CLOSE:
            self.free.discard(channel)
        publish = self.publishes.get(channel)
        if publish is None and name == _PUBLISH and channel in self.confirms:
            self.publishes[channel] = _Publish([frame])
        elif publish is None:
            self.server.write(frame)
        else:
            publish.frames.append(frame)
            if publish.missing < 0:
                publish.missing = int.from_bytes(frame[11:19])
            else:
                publish.missing -= len(frame) - 8
            if publish.missing == 0:
                del self.publishes[channel]
                self._publish(channel, publish)

    def _publish(self, channel: int, publish: _Publish) -> None:
        confirms = self.confirms[channel]
        confirms.asked += 1
        number, data = confirms.asked, b"".join(publish.frames)
        match self.liar.judge(publish.body):
            case Lie.CONFIRM_ONLY:
                self.confirm(channel, number)
            case Lie.STORE_LATE:
                self.confirm(channel, number)
                self.liar.later(self._store_late, publish)
            case Lie.DROP:
                pass
            case Lie.STORE_ONLY:
                confirms.expect(None)
                self.server.write(data)
            case Lie.STORE_TWICE:
                confirms.expect(number)
                confirms.expect(None)
                self.server.write(2 * data)
            case _:
                confirms.expect(number)
                self.server.write(data)

    def _store_late(self, publish: _Publish) -> None:
        if self.free and self.server.connected:
            number = min(self.free).to_bytes(2)
            self.server.write(b"".join(f[:1] + number + f[3:] for f in publish.frames))
            self.liar.stored_late += 1


class Liar:
    """Relays to the RabbitMQ at ``target``, a port of 127.0.0.1. ``lie(body)`` says what is done
    with a record; those of the directory and fences have their bodies too. `start` it first."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.lie: Callable[[bytes], Lie] = lambda body: Lie.NONE
        self.lies = 0
        self.stored_late = 0
        self._port: IListeningPort | None = None
        self._late: list[IDelayedCall] = []

    async def start(self) -> int:
        """Listen; the port."""
        factory = Factory.forProtocol(lambda: _Client(self))
        factory.noisy = False
        self._port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        where: Any = self._port.getHost()
        port: int = where.port
        return port

    async def stop(self) -> None:
        for call in self._late:
            if call.active():
                call.cancel()
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)

    def later(self, store: Callable[[_Publish], None], publish: _Publish) -> None:
        """Store ``publish`` only after `LATE`, if this still stands by then."""
        self._late.append(IReactorTime(reactor).callLater(LATE, store, publish))

    def judge(self, body: bytes) -> Lie:
        lie = self.lie(body)
        self.lies += lie is not Lie.NONE
        return lie
