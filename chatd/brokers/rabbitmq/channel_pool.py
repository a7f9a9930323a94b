"""A pool of channels, each used by one task at a time, because an error closes the whole channel
(https://www.rabbitmq.com/channels.html#error-handling).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from txamqp.client import Closed

from chatd.amqp.channel import Channel, reason_of
from chatd.amqp.client import Client
from chatd.amqp.codec import ProtocolError
from chatd.brokers.interfaces import Unavailable
from chatd.timing.slots import Slots

T = TypeVar("T")

#: Tasks of a pool that may wait for a channel.
WAITING = 10_000
#: Seconds that a task may take, waiting for a channel included.
PATIENCE = 10.0


class ChannelPool:
    """Up to ``size`` channels, for any number of tasks, some of which wait for one."""

    def __init__(self, clock: IReactorTime, size: int) -> None:
        self._clock = clock
        self._turns = Slots(size)
        self._client: Client | None = None
        self._free: list[Channel] = []
        #: Called when the connection has no channel left for a task.
        self.short: Callable[[], None] = lambda: None
        self._running: dict[Deferred[Any], None] = {}

    def connected(self, client: Client) -> None:
        """Use the connection ``client`` from now on."""
        self._client = client
        self._free = []

    def lost(self) -> None:
        """The connection was lost: fail all tasks."""
        self._client = None
        self._free = []
        for task in list(self._running):
            task.cancel()

    def give_back(self) -> None:
        """Close the channels that no task uses: something else needs them."""
        free, self._free = self._free, []
        for channel in free:
            if self._client is not None and not self._client.ended:
                self._client.abandon(channel)

    def run(self, task: Callable[[Client, Channel], Awaitable[T]]) -> Deferred[T]:
        """Run ``task`` with a channel of its own. Fails with `Unavailable` if the broker is away,
        too many tasks wait, or the task takes too long; otherwise with what ``task`` raises."""
        running = Deferred.fromCoroutine(self._run(task))
        done: Deferred[T] = running.addTimeout(PATIENCE, self._clock, _too_late)
        self._running[done] = None
        return done.addBoth(self._ended, done)

    def _ended(self, result: T | Failure, done: Deferred[T]) -> T | Failure:
        self._running.pop(done, None)
        if isinstance(result, Failure) and result.check(CancelledError):
            raise Unavailable("the connection to RabbitMQ was lost")
        return result

    async def _run(self, task: Callable[[Client, Channel], Awaitable[T]]) -> T:
        if self._client is None:
            raise Unavailable("RabbitMQ is not connected")
        if len(self._turns) >= WAITING:
            raise Unavailable("too many requests wait for RabbitMQ")
        await self._turns.acquire()
        try:
            async with self._channel() as (client, channel):
                return await task(client, channel)
        finally:
            self._turns.release()

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[tuple[Client, Channel]]:
        client = self._client
        if client is None or client.ended:
            raise Unavailable("RabbitMQ is not connected")
        self._free = [one for one in self._free if not one.closed]  # by the broker
        try:
            channel = self._free.pop() if self._free else await client.open_channel()
        except Closed as e:
            raise Unavailable(str(reason_of(e))) from None
        except ProtocolError as e:
            self.short()
            raise Unavailable(str(e)) from None
        try:
            yield client, channel
        except Closed as e:
            raise Unavailable(str(reason_of(e))) from None
        except Exception:  # not when all of it is garbage: GeneratorExit
            # replies to the task may still come, so the channel cannot be used again
            client.abandon(channel)
            raise
        if not channel.closed and client is self._client:
            self._free.append(channel)


class ChannelPools:
    """The pools of one connection, which may have no channel for what needs one (``channel_max``)
    while others lie idle."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._pools: list[ChannelPool] = []

    def pool(self, size: int) -> ChannelPool:
        """One more pool, of up to ``size`` channels."""
        pool = ChannelPool(self._clock, size)
        pool.short = self.give_back
        self._pools.append(pool)
        return pool

    def connected(self, client: Client) -> None:
        """Use the connection ``client`` from now on."""
        for pool in self._pools:
            pool.connected(client)

    def lost(self) -> None:
        """The connection was lost."""
        for pool in self._pools:
            pool.lost()

    def give_back(self) -> None:
        """Close the channels that no task uses."""
        for pool in self._pools:
            pool.give_back()


def _too_late(value: T | Failure, timeout: float) -> T:
    if isinstance(value, Failure):
        value.trap(CancelledError)
        raise Unavailable("RabbitMQ did not answer in time")
    return value
