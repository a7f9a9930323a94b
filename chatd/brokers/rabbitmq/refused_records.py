"""Records that the broker refuses: too large ones, and those for which permission is missing.

RabbitMQ refuses a record by closing the channel, on which others are under way. So the limit for
the size (``max_message_size``, https://www.rabbitmq.com/configure.html) is found out beforehand,
and after a refusal by topic permissions
(https://www.rabbitmq.com/access-control.html#topic-authorisation) the room is not tried for a
while.
"""

from __future__ import annotations

import re

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from txamqp.client import ChannelClosed

from chatd.amqp.channel import Reason, reason_of
from chatd.amqp.client import Client
from chatd.amqp.confirms import pack_address, pack_publish
from chatd.brokers.interfaces import NotStored, Stream, TooLarge
from chatd.telemetry.once import Once

#: Bytes of the message that finds out the limit; records are hardly ever larger.
PROBE = 128 * 1024
#: Seconds for which a refused room is not tried, and for which the refusal is remembered.
AGAIN, FORGET = 5.0, 60.0
#: Refused rooms remembered, at most.
MOST = 1000

_ACCESS_REFUSED, _PRECONDITION_FAILED = 403, 406
_SIZE = re.compile(r"larger than (?:configured )?max size (\d+)")
_TOPIC = re.compile(r"access to topic '(.*?)' in exchange ")


@frozen
class _Refusal:
    """Why a room's record was refused, and when (the clock's seconds)."""

    why: str
    when: float


@define(eq=False)
class RefusedRecords:
    """Remembers what was refused. ``largest`` is the limit for bodies in bytes, None if unknown."""

    clock: IReactorTime
    largest: int | None = field(default=None, init=False)
    #: By name, those that were refused lately; see `known`.
    rooms: dict[str, _Refusal] = field(factory=dict, init=False)
    _new: Once = field(factory=Once, init=False)

    _log = Logger()

    def known(self, stream: Stream) -> bool:
        """Whether the room of ``stream`` was refused within `FORGET` seconds."""
        refusal = self.rooms.get(stream.room)
        if refusal is None:
            return False
        if self.clock.seconds() - refusal.when < FORGET:
            return True
        del self.rooms[stream.room]
        return False

    def check(self, stream: Stream, size: int) -> None:
        """Raise `TooLarge` or `NotStored` for a record of ``size`` bytes that would be refused."""
        if self.largest is not None and size > self.largest:
            raise TooLarge(f"RabbitMQ takes at most {self.largest} bytes, these are {size}")
        refusal = self.rooms.get(stream.room)
        if refusal is not None and self.clock.seconds() - refusal.when < AGAIN:
            raise NotStored(refusal.why)

    def note(self, reason: Reason) -> bool:
        """Note why a channel was closed. Returns whether the reason was a refused record."""
        size, topic = _SIZE.search(reason.text), _TOPIC.search(reason.raw)
        if reason.code == _PRECONDITION_FAILED and size is not None:
            self.largest = int(size[1])
        elif reason.code == _ACCESS_REFUSED and topic is not None:
            self.rooms[topic[1]] = _Refusal(reason.text, self.clock.seconds())
            if len(self.rooms) > MOST:
                del self.rooms[next(iter(self.rooms))]
        else:
            return False
        if self._new(reason.text):
            self._log.error("RabbitMQ refuses a record: {why}", why=reason.text)
        return True

    async def learn(self, client: Client) -> None:
        """Find out the limit for the size of records, by a large message that is not routed."""
        channel = await client.open_channel()
        address = pack_address("", "chatd.nobody", False)
        client.send(pack_publish(channel.id, address, b"\0\0", b"\0" * PROBE, client.frame_max))
        try:
            await channel.basic_qos(prefetch_count=1)
        except ChannelClosed as e:
            self.note(reason_of(e))
        finally:
            client.abandon(channel)  # also if there is no answer in time
