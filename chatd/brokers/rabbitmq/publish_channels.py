"""The channels that records are published on, and how they are replaced.

A channel that had a publish under way when a stream changed leaders may go on to confirm what
RabbitMQ drops: before 4.0.1 it sends that publish again under the channel's confirm number in place
of the stream's own, and takes as many of the next for repeats
(https://github.com/rabbitmq/rabbitmq-server/pull/12236). So a channel is replaced as soon as a
change of leader is learned of, and given up when what it was to store is not there: first for all
streams, then with a channel of its own for the stream (whose numbers are then the same, so that the
fault cannot occur), then with a new connection.
"""

from __future__ import annotations

from attrs import Factory, define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from txamqp.client import Closed

from chatd.amqp.channel import Reason
from chatd.amqp.client import Client
from chatd.amqp.confirms import ConfirmChannel
from chatd.brokers.interfaces import NotStored, Stream
from chatd.brokers.rabbitmq.refusals import Refusals
from chatd.timing.singleflight import SingleFlight

#: Seconds for a channel to open or to close, before the connection is given up.
ANSWER = 5.0
#: Seconds that a replaced channel is left to confirm what is under way on it.
RETIRE = 3.0
#: Seconds between two replacements of the shared channel because of a change of leader.
APART = 1.0
#: Seconds that a new connection waits to learn how large a record may be.
LEARN = 1.0
#: Seconds without trouble after which a stream is as trusted as all others.
TRUST = 60.0
#: Streams with a channel of their own.
MOST_OWN = 100
#: How often a stream's records must be missing for it to get a channel of its own, and for all to
#: get a new connection; and how old, in seconds, the connection must be then.
OWN, CONNECTION, OLD = 2, 3, 10.0


@define(eq=False)
class _Way:
    """A channel, and when it was opened (the clock's seconds)."""

    publisher: ConfirmChannel
    opened: float


@define(eq=False)
class _Trouble:
    """A stream whose records went missing, and the channel of its own that it then got."""

    times: int = 0
    latest: float = 0.0
    own: _Way | None = None


@define(eq=False)
class PublishChannels:
    """The channels of the publishing connection. Use them between `connected` and `lost`."""

    clock: IReactorTime
    _client: Client | None = field(default=None, init=False)
    _since: float = field(default=0.0, init=False)
    _shared: _Way | None = field(default=None, init=False)
    _retired: dict[ConfirmChannel, IDelayedCall] = field(factory=dict, init=False)
    _troubles: dict[Stream, _Trouble] = field(factory=dict, init=False)
    _replacing: SingleFlight[None, None] = field(factory=SingleFlight, init=False)
    #: Takes the place of the shared channel at once when the broker closes that.
    _spare: _Way | None = field(default=None, init=False)
    _refusals: Refusals = field(
        default=Factory(lambda self: Refusals(self.clock), True), init=False
    )
    #: For what was refused before: it may only close this one.
    _apart: _Way | None = field(default=None, init=False)

    _log = Logger()

    async def connected(self, client: Client) -> None:
        """There is a new connection."""
        self._shared = await self._open(client)
        self._client = client
        self._since = self.clock.seconds()
        self._refusals.largest = None
        learning = Deferred.fromCoroutine(self._refusals.learn(client))
        await learning.addTimeout(LEARN, self.clock, lambda *_: None)  # not while it is blocked
        await self._fill(client)

    def lost(self) -> None:
        """There is none."""
        self._client = self._shared = self._spare = self._apart = None
        for call in self._retired.values():
            call.cancel()
        self._retired.clear()
        for trouble in self._troubles.values():
            trouble.own = None

    def of(self, stream: Stream, size: int) -> ConfirmChannel:
        """The channel for a record of ``stream`` with a body of ``size`` bytes. `NotStored` without
        a connection, or when the broker has just refused another; `TooLarge`."""
        self._refusals.check(stream, size)
        trouble = self._troubles.get(stream)
        way = trouble.own if trouble is not None and trouble.own is not None else self._shared
        if self._refusals.known(stream):
            way = self._apart
        if way is None:
            raise NotStored("RabbitMQ is not connected")
        return way.publisher

    # -- replacing ---------------------------------------------------------------------------------

    def leader_changed(self) -> None:
        """A stream may have a new leader: publish on another channel from now on. What is under way
        on the old one may still be confirmed."""
        if self._shared is not None and self.clock.seconds() - self._shared.opened >= APART:
            self._replacing.run(None, lambda: self._replace(RETIRE))

    async def distrust(self, stream: Stream, since: float) -> None:
        """As `IBroker.distrust`."""
        client = self._client
        if client is None or client.blocked is not None:
            return  # a new connection is another way; one that is blocked opens no channels
        self._forgive()
        trouble = self._troubles.setdefault(stream, _Trouble())
        way = trouble.own or self._shared
        if way is None or way.opened > since:
            return
        trouble.times += 1
        trouble.latest = self.clock.seconds()
        if trouble.times == CONNECTION and self.clock.seconds() - self._since >= OLD:
            client.fail("records it confirmed or took are not there")
        elif trouble.times >= OWN and self._owners() < MOST_OWN:
            await self._give_own(client, trouble)
        else:
            await self._replacing.run(None, lambda: self._replace(0))

    def _owners(self) -> int:
        return sum(1 for trouble in self._troubles.values() if trouble.own is not None)

    def _forgive(self) -> None:
        now = self.clock.seconds()
        for stream, trouble in list(self._troubles.items()):
            if now - trouble.latest >= TRUST:
                del self._troubles[stream]
                if trouble.own is not None:
                    self._retire(trouble.own.publisher, RETIRE)

    async def _give_own(self, client: Client, trouble: _Trouble) -> None:
        own, trouble.own = trouble.own, await self._open_or_fail(client)
        if own is not None:
            await self._close(own.publisher)

    async def _replace(self, grace: float) -> None:
        """Open another shared channel; the old one has ``grace`` seconds left. Without any, all
        that were replaced before are closed with it."""
        client, old = self._client, self._shared
        if client is None or old is None or client.blocked is not None:
            return
        fresh = await self._open_or_fail(client)
        if fresh is None or client is not self._client:
            return
        self._shared = fresh
        if grace:
            self._retire(old.publisher, grace)
            return
        retired, self._retired = self._retired, {}
        for call in retired.values():
            call.cancel()
        for publisher in (*retired, old.publisher):
            await self._close(publisher)

    # -- opening and closing -----------------------------------------------------------------------

    async def _open(self, client: Client) -> _Way:
        opened = self.clock.seconds()

        def closed(reason: Reason) -> None:
            self._closed(client, reason)

        return _Way(await client.open_publisher(closed=closed), opened)

    def _closed(self, client: Client, reason: Reason) -> None:
        """The broker closed a channel because of one record. All others under way on it are sent
        again by who waits for them; what comes next goes over another channel."""
        if not self._refusals.note(reason):
            client.fail(f"a publishing channel was closed: {reason}")
            return
        if _is_closed(self._spare):
            self._spare = None
        if _is_closed(self._shared):
            self._shared, self._spare = self._spare, None
        if _is_closed(self._apart):
            self._apart = None
        for trouble in self._troubles.values():
            if _is_closed(trouble.own):
                trouble.own = None
        filling = Deferred.fromCoroutine(self._fill(client))
        filling.addErrback(lambda f: self._log.failure("Opening a channel failed", f))

    async def _fill(self, client: Client) -> None:
        """Open the channels that are missing."""
        while client is self._client and not client.closed:
            if self._shared is None:
                self._shared = await self._open_or_fail(client)
            elif self._spare is None:
                self._spare = await self._open_or_fail(client)
            elif self._apart is None and self._refusals.any:
                self._apart = await self._open_or_fail(client)
            else:
                return

    async def _open_or_fail(self, client: Client) -> _Way | None:
        """A new channel; None if the connection ends, as it does if there is no answer."""
        if client.closed:
            return None
        opening = Deferred.fromCoroutine(self._open(client)).addTimeout(ANSWER, self.clock)
        try:
            return await opening
        except Closed:
            return None
        except (TimeoutError, CancelledError):
            client.fail("no channel could be opened")
            return None

    def _retire(self, publisher: ConfirmChannel, grace: float) -> None:
        self._retired[publisher] = self.clock.callLater(grace, self._retire_now, publisher)

    def _retire_now(self, publisher: ConfirmChannel) -> None:
        self._retired.pop(publisher, None)
        closing = Deferred.fromCoroutine(self._close(publisher))
        closing.addErrback(lambda f: self._log.failure("Closing a channel failed", f))

    async def _close(self, publisher: ConfirmChannel) -> None:
        """Close a channel. When this returns the broker takes nothing from it any more."""
        client = self._client
        if client is None:
            return
        closing = Deferred.fromCoroutine(client.close_publisher(publisher))

        def silent(result: object, timeout: float) -> None:
            if isinstance(result, Failure):
                client.fail("a channel could not be closed")

        await closing.addTimeout(ANSWER, self.clock, silent)


def _is_closed(way: _Way | None) -> bool:
    return way is not None and way.publisher.closed
