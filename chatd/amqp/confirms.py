"""The hot path for publishing: each publish in one write, and the broker's confirms matched to
them (https://www.rabbitmq.com/confirms.html)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
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
#: Bytes of bodies that may wait for confirms on one connection.
MOST_BYTES = 64 * 1024 * 1024
#: Addresses that are kept encoded.
ADDRESSES = 1024
#: Publishes without a confirm up to which the newest counts as alone: one whose sender waits for
#: it, and the one before, which may be stored already.
FEW = 2


class Unroutable(Exception):
    """No queue is bound for the routing key. The message was not stored."""


class NotConfirmed(Exception):
    """The broker refused the message, or did not answer in time. It may have been stored."""


class NotSent(NotConfirmed):
    """The message was not sent, so it was not stored."""


def pack_publish(
    channel: int, address: bytes, properties: bytes, body: bytes, frame_max: int
) -> bytes:
    """Encode the frames of one basic.publish. ``address`` is from `pack_address`, ``properties``
    from `chatd.amqp.codec.encode_properties`."""
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


@lru_cache(maxsize=ADDRESSES)
def pack_address(exchange: str, key: str, mandatory: bool) -> bytes:
    """Encode the method's payload of a basic.publish, which many messages share."""
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


@define
class Waiting:
    """How many publishes wait for confirms on all channels of a connection, and the bytes of their
    bodies."""

    number: int = 0
    size: int = 0


class ConfirmChannel:
    """A channel in confirm mode.

    At most ``limit`` publishes and `MOST_BYTES` of bodies may wait for their confirms on all
    channels that share ``waiting``, each for ``timeout`` seconds. ``write`` sends bytes, and is
    told whether they are alone or may wait a moment for others. After `close` every publish fails
    with `NotSent`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        channel: int,
        write: Callable[[bytes, bool], object],
        frame_max: int,
        waiting: Waiting,
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
        self._waiting = waiting
        self._last = 0
        self._closed = ""
        self._sweep = LoopingCall(self._expire)
        self._sweep.clock = clock
        self._sweep.start(min(1.0, timeout / 4), now=False)

    def __len__(self) -> int:
        """How many publishes wait for a confirm."""
        return len(self._pending)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return bool(self._closed)

    def publish(
        self, address: bytes, key: str, properties: bytes, body: bytes, id: str
    ) -> Deferred[None]:
        """Publish to ``address``; fires when the broker has confirmed. Fails with `Unroutable` or
        `NotConfirmed`. A message that is returned is recognised by its routing key ``key`` and its
        message id ``id``."""
        if self._closed:
            return fail(NotSent(self._closed))
        waiting = self._waiting
        if waiting.number >= self._limit or waiting.size > MOST_BYTES:
            return fail(NotSent("too many publishes wait for the broker"))
        self._last += 1
        done: Deferred[None] = Deferred()
        deadline = self._clock.seconds() + self._timeout
        self._pending[self._last] = _Unconfirmed(done, deadline, key, id, len(body))
        waiting.number += 1
        waiting.size += len(body)
        frames = pack_publish(self.channel, address, properties, body, self._frame_max)
        self._write(frames, len(self._pending) <= FEW)
        return done

    def acked(self, tag: int, multiple: bool) -> None:
        """The broker has confirmed the publish ``tag``; with ``multiple``, all before it, too."""
        for one in self._settle(tag, multiple):
            if one.returned:
                one.done.errback(Unroutable(one.key))
            else:
                one.done.callback(None)

    def nacked(self, tag: int, multiple: bool) -> None:
        """The broker has refused the publish ``tag``; with ``multiple``, all before it, too."""
        for one in self._settle(tag, multiple):
            one.done.errback(NotConfirmed("the broker refused the message"))

    def returned(self, key: str, id: str) -> None:
        """The broker has returned an unroutable message; its confirm follows."""
        for one in self._pending.values():
            if one.id == id and one.key == key and not one.returned:
                one.returned = True
                return

    def _settle(self, tag: int, multiple: bool) -> list[_Unconfirmed]:
        if not multiple or tag == next(iter(self._pending), None):
            return self._take([tag] if tag in self._pending else [])
        return self._take(list(takewhile(lambda number: number <= tag, self._pending)))

    def _take(self, numbers: list[int]) -> list[_Unconfirmed]:
        taken = [self._pending.pop(number) for number in numbers]
        waiting = self._waiting
        waiting.number -= len(taken)
        for one in taken:
            waiting.size -= one.size
        return taken

    def _expire(self) -> None:
        now = self._clock.seconds()
        late = takewhile(lambda number: self._pending[number].deadline <= now, self._pending)
        for one in self._take(list(late)):
            one.done.errback(NotConfirmed("the broker did not confirm in time"))

    def close(self, why: str) -> None:
        """Fail all pending publishes, and all later ones, for the reason ``why``."""
        self._closed = why
        if self._sweep.running:
            self._sweep.stop()
        for one in self._take(list(self._pending)):
            one.done.errback(NotConfirmed(why))
