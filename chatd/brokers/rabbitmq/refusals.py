"""What the broker refuses to take: records that are too large, and those of some rooms.

RabbitMQ answers either by closing the channel, and with it what others have under way there. So it
is asked beforehand how large a record may be (``max_message_size``,
https://www.rabbitmq.com/configure.html), and a room that it refuses by the permissions for topics
(https://www.rabbitmq.com/access-control.html#topic-authorisation) is not tried again for a while.
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

#: Bytes of the message that asks for the limit: what a record has at most, but for rare texts.
PROBE = 128 * 1024
#: Seconds for which a room that was refused is not tried again, and for which it is remembered.
AGAIN, FORGET = 5.0, 60.0
#: Rooms remembered.
MOST = 1000

_ACCESS_REFUSED, _PRECONDITION_FAILED = 403, 406
_SIZE = re.compile(r"larger than (?:configured )?max size (\d+)")
_TOPIC = re.compile(r"access to topic '(.*?)' in exchange ")


@frozen
class _Refusal:
    """Why a room's records are refused, and when that was (the clock's seconds)."""

    why: str
    when: float


@define(eq=False)
class Refusals:
    """``largest`` is the size of the largest body that the broker takes; None if it takes all."""

    clock: IReactorTime
    largest: int | None = field(default=None, init=False)
    _rooms: dict[str, _Refusal] = field(factory=dict, init=False)
    _new: Once = field(factory=Once, init=False)

    _log = Logger()

    @property
    def any(self) -> bool:
        """Whether a room is refused."""
        return bool(self._rooms)

    def known(self, stream: Stream) -> bool:
        """Whether the room of ``stream`` was refused lately."""
        refusal = self._rooms.get(stream.room)
        if refusal is None:
            return False
        if self.clock.seconds() - refusal.when < FORGET:
            return True
        del self._rooms[stream.room]
        return False

    def check(self, stream: Stream, size: int) -> None:
        """Fails with `TooLarge` or `NotStored` for a record that is known to be refused."""
        if self.largest is not None and size > self.largest:
            raise TooLarge(f"RabbitMQ takes at most {self.largest} bytes, these are {size}")
        refusal = self._rooms.get(stream.room)
        if refusal is not None and self.clock.seconds() - refusal.when < AGAIN:
            raise NotStored(refusal.why)

    def note(self, reason: Reason) -> bool:
        """A channel was closed for ``reason``; whether it was one record's fault."""
        size, topic = _SIZE.search(reason.text), _TOPIC.search(reason.text)
        if reason.code == _PRECONDITION_FAILED and size is not None:
            self.largest = int(size[1])
        elif reason.code == _ACCESS_REFUSED and topic is not None:
            self._rooms[topic[1]] = _Refusal(reason.text, self.clock.seconds())
            if len(self._rooms) > MOST:
                del self._rooms[next(iter(self._rooms))]
        else:
            return False
        if self._new(reason.text):
            self._log.error("RabbitMQ refuses a record: {why}", why=reason.text)
        return True

    async def learn(self, client: Client) -> None:
        """Find out how large a record may be, by a message to nobody."""
        channel = await client.open_channel()
        address = pack_address("", "chatd.nobody", False)
        client.send(pack_publish(channel.id, address, b"\0\0", b"\0" * PROBE, client.frame_max))
        try:
            await channel.basic_qos(prefetch_count=1)
        except ChannelClosed as e:
            self.note(reason_of(e))
        else:
            await client.close_channel(channel)
