"""Opening and closing the channels of a publishing connection, and the patience that takes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from txamqp.client import Closed

from chatd.amqp.channel import Reason
from chatd.amqp.client import Client
from chatd.amqp.codec import ProtocolError
from chatd.amqp.confirms import ConfirmChannel

T = TypeVar("T")

#: Seconds for a channel to open or to close before the connection is closed. While the broker takes
#: no messages it reads nothing from the connection, so that time does not count; seconds between
#: looks at that.
ANSWER, LOOK = 5.0, 1.0


@define(eq=False)
class Opened:
    """A channel, when it was opened, and when its stream needed it last if it is a stream's own
    (the clock's seconds)."""

    publisher: ConfirmChannel
    opened: float
    needed: float = 0.0


def is_closed(one: Opened | None) -> bool:
    """Whether there is such a channel, and it was closed."""
    return one is not None and one.publisher.closed


@define(eq=False)
class ChannelOpener:
    """Opens and closes the channels of ``client``. ``closed`` is called if the broker closes one.
    Once the connection is `lost` nothing more is done."""

    clock: IReactorTime
    client: Client
    closed: Callable[[Reason], None]
    _retired: dict[ConfirmChannel, IDelayedCall] = field(factory=dict, init=False)
    _lost: bool = field(default=False, init=False)

    _log = Logger()

    def lost(self) -> None:
        """The connection was lost."""
        self._lost = True
        for call in self._retired.values():
            call.cancel()
        self._retired.clear()

    async def open(self) -> Opened:
        """Open a channel; raises as `Client.open_channel` does."""
        opened = self.clock.seconds()
        return Opened(await self.client.open_publisher(closed=self.closed), opened)

    async def open_or_fail(self) -> Opened | None:
        """Open a channel; None if the connection ends. If there is no answer, or no channel left,
        close the connection."""
        if self.client.ended:
            return None
        try:
            return await self._patiently(self.open())
        except Closed:
            return None
        except CancelledError:
            self.client.fail("no channel could be opened")
            return None
        except ProtocolError as e:
            self.client.fail(str(e))
            return None

    def retire(self, publisher: ConfirmChannel, grace: float) -> None:
        """Close a channel after ``grace`` seconds, for the confirms that are under way on it."""
        self._retired[publisher] = self.clock.callLater(grace, self._retire_now, publisher)

    def _retire_now(self, publisher: ConfirmChannel) -> None:
        self._retired.pop(publisher, None)
        closing = Deferred.fromCoroutine(self.close(publisher))
        closing.addErrback(lambda f: self._log.failure("Closing a channel failed", f))

    async def close_all(self, publisher: ConfirmChannel) -> None:
        """Close a channel, and now also those that were to be closed later."""
        retired, self._retired = self._retired, {}
        for call in retired.values():
            call.cancel()
        for one in (*retired, publisher):
            await self.close(one)

    async def close(self, publisher: ConfirmChannel) -> None:
        """Close a channel. When this returns, the broker stores nothing more from it."""
        if self._lost:
            return
        try:
            await self._patiently(self.client.close_publisher(publisher))
        except CancelledError:
            self.client.fail("a channel could not be closed")

    def _patiently(self, asking: Coroutine[Any, Any, T]) -> Deferred[T]:
        """The outcome of ``asking``, which is cancelled after `ANSWER` seconds in which the broker
        did not answer though it reads."""
        asked = Deferred.fromCoroutine(asking)
        left = ANSWER
        call = self.clock.callLater(LOOK, lambda: look())

        def look() -> None:
            nonlocal left, call
            left = ANSWER if self.client.blocked is not None else left - LOOK
            if left <= 0:
                asked.cancel()
            else:
                call = self.clock.callLater(LOOK, look)

        def answered(result: T | Failure) -> T | Failure:
            if call.active():
                call.cancel()
            return result

        return asked.addBoth(answered)
