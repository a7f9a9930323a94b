"""The channels that records are published on, and their replacement.

A channel that had a publish under way when a stream changed leaders may confirm records that
RabbitMQ drops. Before 4.0.1 RabbitMQ sends that publish again under the channel's confirm number
instead of the stream's own, and takes as many of the next records for repeats
(https://github.com/rabbitmq/rabbitmq-server/pull/12236). So the channel is replaced when a change
of leader becomes known, and closed when records are found missing: first the shared channel is
replaced, then the stream gets a channel of its own, then the connection is replaced.

On a channel that only one stream uses both numbers are the same, so that the fault cannot occur:
the stream's leaders get its records in order, and again from the first that was not confirmed. So a
stream also gets one when somebody wants to send several records at once and in order (`lane`).
"""

from __future__ import annotations

from attrs import Factory, define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from txamqp.client import Closed

from chatd.amqp.channel import Reason
from chatd.amqp.client import Client
from chatd.amqp.codec import ProtocolError
from chatd.amqp.confirms import ConfirmChannel
from chatd.brokers.interfaces import NotStored, Stream
from chatd.brokers.rabbitmq.channel_opener import ChannelOpener, Opened, is_closed
from chatd.brokers.rabbitmq.refused_records import RefusedRecords
from chatd.timing.singleflight import SingleFlight

#: Seconds for which a replaced channel stays open for the confirms that are under way.
RETIRE = 3.0
#: Seconds between two replacements of the shared channel because of a change of leader, at least.
APART = 1.0
#: Seconds that a new connection waits to learn how large a record may be.
LEARN = 1.0
#: Seconds after which a stream uses the shared channel again, without missing records or senders
#: that want its own; and between looks for such streams, at least.
TRUST, FORGIVE = 60.0, 1.0
#: Streams with a channel of their own, at most.
MOST_OWN = 100
#: How RabbitMQ ends a connection for one channel more than a user may have, or a host takes. It
#: tells those limits in no other way.
_NOT_ALLOWED, _TOO_MANY = 530, "number of channels"
#: How often a stream's records must be missing until it gets a channel of its own, and until the
#: connection is replaced; and the age in seconds that the connection must have then.
OWN, CONNECTION, OLD = 2, 3, 10.0


@define(eq=False)
class _Trouble:
    """How often records of a stream were missing, and when they were last."""

    times: int = 0
    latest: float = 0.0


@define(eq=False)
class PublishChannels:
    """The channels of the publishing connection. Use them between `connected` and `lost`."""

    clock: IReactorTime
    _opener: ChannelOpener | None = field(default=None, init=False)
    _since: float = field(default=0.0, init=False)
    _shared: Opened | None = field(default=None, init=False)
    _own: dict[Stream, Opened] = field(factory=dict, init=False)
    _most_own: int = field(default=MOST_OWN, init=False)
    _troubles: dict[Stream, _Trouble] = field(factory=dict, init=False)
    _forgiven: float = field(default=0.0, init=False)
    #: Looks for streams that need their own channel no more, as long as there are any.
    _look: IDelayedCall | None = field(default=None, init=False)
    _replacing: SingleFlight[None, None] = field(factory=SingleFlight, init=False)
    _giving: SingleFlight[Stream, None] = field(factory=SingleFlight, init=False)
    _filling: SingleFlight[ChannelOpener, None] = field(factory=SingleFlight, init=False)
    #: Replaces the shared channel at once when the broker closes that.
    _spare: Opened | None = field(default=None, init=False)
    _refused: RefusedRecords = field(
        default=Factory(lambda self: RefusedRecords(self.clock), True), init=False
    )
    #: For streams whose records were refused lately: a refusal closes the channel.
    _apart: Opened | None = field(default=None, init=False)

    _log = Logger()

    async def connected(self, client: Client) -> None:
        """Open channels on the new connection ``client``. `learn` is to follow."""
        opener = ChannelOpener(self.clock, client, lambda reason: self._closed(opener, reason))
        self._shared = await opener.open()
        self._opener = opener
        self._since = self.clock.seconds()
        self._refused.largest = None
        await self._fill(opener)

    def learn(self, client: Client) -> Deferred[None]:
        """Find out how large a record may be; fires when that is known, after `LEARN` seconds at
        the latest. It takes a message, and with the first one the broker blocks a connection while
        it is short of memory or disk. So all that a new connection needs is asked for before."""
        told: Deferred[None] = Deferred()
        late = self.clock.callLater(LEARN, told.callback, None)

        def ended(_: object) -> None:
            if late.active():
                late.cancel()
                told.callback(None)

        learning = Deferred.fromCoroutine(self._refused.learn(client))
        learning.addErrback(lambda failure: failure.trap(Closed, ProtocolError) and None)
        learning.addErrback(lambda f: self._log.failure("Asking for the limit failed", f))
        learning.addBoth(ended)
        return told

    def lost(self) -> None:
        """Forget all channels: the connection was lost."""
        if self._opener is not None:
            self._opener.lost()
        self._opener = self._shared = self._spare = self._apart = None
        self._own.clear()
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def of(self, stream: Stream, size: int) -> ConfirmChannel:
        """The channel for a record of ``stream`` with a body of ``size`` bytes. Raises `TooLarge`,
        or `NotStored` without a connection or right after a refusal."""
        refused = self._refused
        refused.check(stream, size)
        chosen = self._own.get(stream) or self._shared
        if refused.rooms and refused.known(stream):
            chosen = self._apart
        if chosen is None:
            raise NotStored("RabbitMQ is not connected")
        return chosen.publisher

    # -- channels of one stream --------------------------------------------------------------------

    def lane(self, stream: Stream, more: bool) -> ConfirmChannel | None:
        """As `IBroker.lane`: the stream's own channel, if it has one."""
        if self._refused.rooms and self._refused.known(stream):
            return None
        own = self._own.get(stream)
        if more and own is not None:
            own.needed = self.clock.seconds()
        elif more:
            self._want_own(stream)
        return own.publisher if own is not None else None

    def out_of_step(self, stream: Stream) -> None:
        """A record of ``stream`` had nowhere to go. It was counted on the stream's own channel, but
        not in the stream, so that channel is as a shared one now."""
        self._take_back(stream)

    def ended(self, reason: Reason) -> None:
        """A connection of this node ends. If RabbitMQ allows no more channels, half as many streams
        have one of their own from now on, also where another kind was the one too many: without
        those all else goes on."""
        if reason.code != _NOT_ALLOWED or _TOO_MANY not in reason.text or not self._most_own:
            return
        self._most_own = min(self._most_own, len(self._own)) // 2
        self._log.warn(
            "RabbitMQ allows no more channels: from now on at most {most} rooms have one of their"
            " own",
            most=self._most_own,
        )
        for stream in list(self._own)[self._most_own :]:
            self._take_back(stream)

    def _take_back(self, stream: Stream) -> None:
        own = self._own.pop(stream, None)
        if own is not None and self._opener is not None:
            self._opener.retire(own.publisher, RETIRE)

    def _want_own(self, stream: Stream) -> None:
        opener = self._opener
        if opener is None or opener.client.blocked is not None or not self._giving.idle(stream):
            return
        if self._may_give(opener):
            giving = self._giving.run(stream, lambda: self._give_own(opener, stream))
            giving.addErrback(lambda f: self._log.failure("Opening a channel failed", f))

    def _may_give(self, opener: ChannelOpener) -> bool:
        """Whether there are channels left for one more stream, and enough for all else."""
        self._forgive(opener)
        client, given = opener.client, len(self._own) + len(self._giving)
        return given < self._most_own and 2 * len(client.channels) < (client.channel_max or 65_535)

    async def _give_own(self, opener: ChannelOpener, stream: Stream) -> None:
        fresh = await opener.open_or_fail()
        if fresh is None or opener is not self._opener:
            return
        old, self._own[stream] = self._own.get(stream), fresh
        fresh.needed = self.clock.seconds()
        if self._look is None:
            self._look = self.clock.callLater(TRUST, self._look_again, opener)
        if old is not None:
            await opener.close(old.publisher)

    def _look_again(self, opener: ChannelOpener) -> None:
        self._look = None
        self._forgive(opener)
        if self._own:
            self._look = self.clock.callLater(TRUST, self._look_again, opener)

    def _forgive(self, opener: ChannelOpener) -> None:
        """Forget troubles that are over, and take back channels that no stream needs."""
        now = self.clock.seconds()
        if now - self._forgiven < FORGIVE:
            return
        self._forgiven = now
        for stream, trouble in list(self._troubles.items()):
            if now - trouble.latest >= TRUST:
                del self._troubles[stream]
        for stream, own in list(self._own.items()):
            if now - own.needed >= TRUST and stream not in self._troubles:
                self._take_back(stream)

    # -- replacing ---------------------------------------------------------------------------------

    def leader_changed(self) -> None:
        """Publish on another channel from now on, because a stream may have a new leader. Publishes
        under way on the old one may still be confirmed."""
        if self._shared is not None and self.clock.seconds() - self._shared.opened >= APART:
            self._replacing.run(None, lambda: self._replace(RETIRE))

    async def distrust(self, stream: Stream, since: float) -> None:
        """As `IBroker.distrust`."""
        opener = self._opener
        if opener is None or opener.client.blocked is not None:
            return  # the next connection has new channels; a blocked one opens none
        self._forgive(opener)
        trouble = self._troubles.setdefault(stream, _Trouble())
        own = self._own.get(stream)
        used = own or self._shared
        if used is None:
            return
        if used.opened > since:
            await self._replaced(stream)
            return
        trouble.times += 1
        trouble.latest = self.clock.seconds()
        if trouble.times >= CONNECTION and self.clock.seconds() - self._since >= OLD:
            trouble.times = 0  # the next connection is tried as this one was
            opener.client.fail("records it confirmed or took are not there")
        elif own is not None or (trouble.times >= OWN and self._may_give(opener)):
            await self._giving.run(stream, lambda: self._give_own(opener, stream))
        else:
            await self._replacing.run(None, lambda: self._replace(0))

    def trust(self, stream: Stream) -> None:
        """As `IBroker.trust`: that does not count towards a new connection."""
        trouble = self._troubles.get(stream)
        if trouble is not None and trouble.times:
            trouble.times -= 1

    async def _replaced(self, stream: Stream) -> None:
        """Return when what is being replaced has been closed: over that more may be stored yet."""
        if not self._giving.idle(stream):
            await self._giving.join(stream)
        if not self._replacing.idle(None):
            await self._replacing.join(None)

    async def _replace(self, grace: float) -> None:
        """Replace the shared channel; close the old one after ``grace`` seconds. With 0, close the
        channels that were replaced before as well."""
        opener, old = self._opener, self._shared
        if opener is None or old is None or opener.client.blocked is not None:
            return
        fresh = await opener.open_or_fail()
        if fresh is None or opener is not self._opener:
            return
        self._shared = fresh
        if grace:
            opener.retire(old.publisher, grace)
        else:
            await opener.close_all(old.publisher)

    def _closed(self, opener: ChannelOpener, reason: Reason) -> None:
        """Replace a channel that the broker has closed because of one record. The other publishes
        that were under way on it are missing, and sent again."""
        if not self._refused.note(reason):
            opener.client.fail(f"a publishing channel was closed: {reason}")
            return
        if is_closed(self._spare):
            self._spare = None
        if is_closed(self._shared):
            self._shared, self._spare = self._spare, None
        if is_closed(self._apart):
            self._apart = None
        self._own = {stream: own for stream, own in self._own.items() if not is_closed(own)}
        # one that is under way goes on with what is missing now
        filling = self._filling.run(opener, lambda: self._fill(opener))
        filling.addErrback(lambda f: self._log.failure("Opening a channel failed", f))

    async def _fill(self, opener: ChannelOpener) -> None:
        """Open the channels that are missing."""
        while opener is self._opener and not opener.client.ended:
            if self._shared is None:
                self._shared = await opener.open_or_fail()
            elif self._spare is None:
                self._spare = await opener.open_or_fail()
            elif self._apart is None and self._refused.rooms:
                self._apart = await opener.open_or_fail()
            else:
                return
