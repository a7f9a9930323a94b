"""The hot path out: publishes packed in one piece, and the broker's confirms matched to them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from struct import Struct

from attrs import define
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from chatd.amqp.deliveries import BODY, FRAME_END, HEADER, METHOD

_FRAME = Struct("!BHI")
_CONTENT = Struct("!BHIHHQ")
_END = bytes([FRAME_END])
#: How many bytes of bodies may wait for their confirms.
MOST_BYTES = 64 * 1024 * 1024


class Unroutable(Exception):
    """No queue is bound for the routing key: nothing was stored."""


class NotConfirmed(Exception):
    """The broker refused, or did not answer in time; whether it stored is unknown."""


class NotSent(NotConfirmed):
    """It was not even sent: nothing was stored."""


def pack_publish(
    channel: int, address: bytes, properties: bytes, body: bytes, frame_max: int
) -> bytes:
    """The frames of one basic.publish; ``address`` is from `pack_address`."""
    size = len(body)
    parts = [
        _FRAME.pack(METHOD, channel, len(address)),
        address,
        _END,
        _CONTENT.pack(HEADER, channel, len(properties) + 12, 60, 0, size),
        properties,
        _END,
    ]
    step = frame_max - 8
    for start in range(0, size, step):
        piece = body if size <= step else body[start : start + step]
        parts += _FRAME.pack(BODY, channel, len(piece)), piece, _END
    return b"".join(parts)


def pack_address(exchange: str, key: str, mandatory: bool) -> bytes:
    """basic.publish's payload: where to, which stays the same from message to message."""
    to, by = exchange.encode(), key.encode()
    return b"".join(
        [b"\0\x3c\0\x28\0\0", bytes([len(to)]), to, bytes([len(by)]), by, bytes([mandatory])]
    )


@define
class _Unconfirmed:
    done: Deferred[None]
    deadline: float
    key: str
    id: str
    size: int
    returned: bool = False


class ConfirmChannel:
    """A channel in confirm mode. Bounded: ``limit`` publishes or `MOST_BYTES` of bodies without
    confirm, ``timeout`` seconds each.

    ``write`` takes bytes for the socket. After `close` every publish fails with `NotConfirmed`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        channel: int,
        write: Callable[[bytes], object],
        frame_max: int,
        limit: int = 10_000,
        timeout: float = 10.0,
    ) -> None:
        self._clock = clock
        self.channel = channel
        self._write = write
        self._frame_max = frame_max
        self._limit = limit
        self._timeout = timeout
        self._pending: dict[int, _Unconfirmed] = {}
        self._bytes = 0
        self._last = 0
        self._closed = ""
        self._sweep = LoopingCall(self._expire)
        self._sweep.clock = clock
        self._sweep.start(min(1.0, timeout / 4), now=False)

    @property
    def closed(self) -> bool:
        """Whether the channel is no more."""
        return bool(self._closed)

    def publish(
        self, address: bytes, key: str, properties: bytes, body: bytes, id: str
    ) -> Deferred[None]:
        """Publish to ``address``; fires when the broker has it safe. Fails with `Unroutable` or
        `NotConfirmed`. ``key`` and ``id`` are the routing key and message id, to know a returned
        message by."""
        if self._closed:
            return fail(NotSent(self._closed))
        if len(self._pending) >= self._limit or self._bytes > MOST_BYTES:
            return fail(NotSent("too many publishes wait for the broker"))
        self._last += 1
        done: Deferred[None] = Deferred()
        deadline = self._clock.seconds() + self._timeout
        self._pending[self._last] = _Unconfirmed(done, deadline, key, id, len(body))
        self._bytes += len(body)
        self._write(pack_publish(self.channel, address, properties, body, self._frame_max))
        return done

    def acked(self, tag: int, multiple: bool) -> None:
        """The broker has it, and with ``multiple`` all before it."""
        for one in self._settle(tag, multiple):
            if one.returned:
                one.done.errback(Unroutable(one.key))
            else:
                one.done.callback(None)

    def nacked(self, tag: int, multiple: bool) -> None:
        """The broker could not take it."""
        for one in self._settle(tag, multiple):
            one.done.errback(NotConfirmed("the broker refused the message"))

    def returned(self, key: str, id: str) -> None:
        """basic.return: it had nowhere to go; its ack follows."""
        for one in self._pending.values():
            if one.id == id and one.key == key and not one.returned:
                one.returned = True
                return

    def _settle(self, tag: int, multiple: bool) -> list[_Unconfirmed]:
        if not multiple:
            return self._take([tag] if tag in self._pending else [])
        return self._take(list(takewhile(lambda number: number <= tag, self._pending)))

    def _take(self, numbers: list[int]) -> list[_Unconfirmed]:
        taken = [self._pending.pop(number) for number in numbers]
        for one in taken:
            self._bytes -= one.size
        return taken

    def _expire(self) -> None:
        now = self._clock.seconds()
        late = takewhile(lambda number: self._pending[number].deadline <= now, self._pending)
        for one in self._take(list(late)):
            one.done.errback(NotConfirmed("the broker did not confirm in time"))

    def close(self, why: str) -> None:
        """The channel is no more."""
        self._closed = why
        if self._sweep.running:
            self._sweep.stop()
        pending, self._pending = self._pending, {}
        for one in pending.values():
            one.done.errback(NotConfirmed(why))
