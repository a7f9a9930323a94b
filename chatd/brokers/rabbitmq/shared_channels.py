"""Channels that many followers share: RabbitMQ is quick with some hundred consumers on each.

One follower's error closes the channel for all on it (https://www.rabbitmq.com/channels.html), so
those whom the broker refused try again on channels of few; the others notice nothing.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from txamqp.client import Closed

from chatd.amqp.channel import Channel, Reason
from chatd.amqp.client import Client
from chatd.brokers.rabbitmq.consumer import PREFETCH, StreamConsumer

#: Consumers on one channel, and on one for those that had an error.
SHARED, APART = 200, 8


class SharedChannel:
    """One channel and the attachments on it."""

    _log = Logger()

    def __init__(self, lanes: SharedChannels, room: int) -> None:
        self.members: set[StreamConsumer] = set()
        self.room = room
        self._lanes = lanes
        self._channel: Channel | None = None
        self._starting: set[StreamConsumer] = set()
        self._started: set[StreamConsumer] = set()
        opening = Deferred.fromCoroutine(self._open())
        opening.addErrback(self._failed)

    async def _open(self) -> None:
        channel = await self._lanes.client.open_channel()
        channel.on_close = self._closed
        await channel.basic_qos(prefetch_count=PREFETCH)
        self._channel = channel
        for attachment in list(self.members):
            self._begin(attachment, channel)

    def _failed(self, failure: Failure) -> None:
        # with the connection; whoever reconnects attaches all anew
        if not failure.check(Closed):
            self._log.failure("Opening a channel failed", failure)

    def add(self, attachment: StreamConsumer) -> None:
        """Start ``attachment`` here."""
        self.members.add(attachment)
        if self._channel is not None:
            self._begin(attachment, self._channel)

    def _begin(self, attachment: StreamConsumer, channel: Channel) -> None:
        self._starting.add(attachment)
        attachment.begin(channel).addCallback(self._begun, attachment)

    def _begun(self, agreed: bool, attachment: StreamConsumer) -> None:
        if agreed:
            self._starting.discard(attachment)
            self._started = {attachment}

    def _closed(self, reason: Reason) -> None:
        """The broker's text names the stream it stumbled over. If it is cut short or says nothing
        of the kind, any may be the culprit that was not agreed to yet, or the last that was:
        RabbitMQ 3.10 agrees before it looks whether the stream has a replica here."""
        self._log.debug("A channel was closed: {why}", why=str(reason))
        members, self.members = self.members, set()
        self._lanes.dropped(self)
        suspects = {one for one in members if f"'{one.stream}'" in reason.text}
        suspects = suspects or self._starting | self._started
        for attachment in members:
            attachment.broken(attachment in suspects)


class SharedChannels:
    """All shared channels of one connection."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._lanes: list[SharedChannel] = []

    def attach(self, attachment: StreamConsumer, apart: bool) -> SharedChannel:
        """Start ``attachment`` on a channel with room for it; ``apart`` from those in good order.
        Take it off with `SharedChannel.members.discard`."""
        room = APART if apart else SHARED
        for lane in reversed(self._lanes):
            if lane.room == room and len(lane.members) < room:
                break
        else:
            lane = SharedChannel(self, room)
            self._lanes.append(lane)
        lane.add(attachment)
        return lane

    def dropped(self, lane: SharedChannel) -> None:
        """A channel was closed."""
        self._lanes.remove(lane)
