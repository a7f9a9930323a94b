"""The connection: txAMQP's `AMQClient`, made exact, fast in both directions, and hard to kill.

What txAMQP does wrong and where it is mended: its codec (``codec``), its missing spec (``spec``),
replies (``channel``), the server's own methods (``delegate``), heartbeats (``pulse``), its frame
reader (``frames``); and here its header, and the errors of a frame, which nobody would see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import error as StructError
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from txamqp.client import Closed
from txamqp.connection import Frame, Method
from txamqp.content import Content
from txamqp.message import Message
from txamqp.protocol import AMQClient

from chatd.amqp import deliveries
from chatd.amqp.channel import Channel, Reason, reason_of
from chatd.amqp.codec import ProtocolError, decode_method, decode_properties, encode_method
from chatd.amqp.confirms import ConfirmChannel
from chatd.amqp.delegate import Delegate
from chatd.amqp.deliveries import Consumer, Deliveries, Delivery
from chatd.amqp.frames import FRAME_MAX, FrameReader
from chatd.amqp.pulse import Congestion, Heartbeats
from chatd.amqp.spec import SPEC


class Client(AMQClient):
    """One connection. ``lost`` is called once, with a `Reason`, when it has ended.

    ``properties`` tell the broker who is connected. ``blocked`` is the broker's reason while it
    takes no publishes (https://www.rabbitmq.com/connection-blocked.html), else None.
    """

    channelClass = Channel
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        vhost: str,
        heartbeat: int,
        properties: Mapping[str, str],
        lost: Callable[[Reason], None],
    ) -> None:
        # 0: txAMQP's heartbeats, which start and stop two timers a frame, stay off
        super().__init__(Delegate(), vhost, SPEC, heartbeat=0, clock=clock)
        self.properties = properties
        self.blocked: str | None = None
        self.publishers: dict[int, ConfirmChannel] = {}
        self.deliveries = Deliveries(self.send)
        self.frame_max = FRAME_MAX
        self.channel_max = 0
        self.tuned = False
        self.congestion = Congestion()
        self._wished_heartbeat = heartbeat
        self._lost = lost
        self._frames = FrameReader(self.deliveries, self.publishers, self._frame)
        self._number = 0
        self._retired: set[int] = set()
        self._returned: dict[int, Message] = {}
        self._missing: dict[int, int] = {}
        self._ended: Reason | None = None
        self._pulse = Heartbeats(
            clock, self.send, lambda: self.fail("the broker has fallen silent")
        )

    # -- what others call --------------------------------------------------------------------------

    async def open_channel(self) -> Channel:
        """A new channel, on the number that was free the longest: RabbitMQ goes on delivering on
        a channel for a moment after it has closed it."""
        most = self.channel_max or 65_535
        turn = range(self._number + 1, self._number + 1 + most)
        free = ((n - 1) % most + 1 for n in turn)
        number = next((n for n in free if n not in self.channels), None)
        if number is None:
            raise ProtocolError(f"the broker allows {most} channels only")
        self._number = number
        self._retired.discard(number)
        self.deliveries.open_channel(number)
        channel = self._channel(number)
        await channel.channel_open()
        return channel

    def channel(self, id: int) -> Deferred[Channel]:
        return succeed(self._channel(id))

    def _channel(self, id: int) -> Channel:
        if id not in self.channels:
            self.channels[id] = self.channelFactory(id, self.outgoing, self)
        channel: Channel = self.channels[id]
        return channel

    def start(
        self, response: str, mechanism: str = "PLAIN", locale: str = "en_US"
    ) -> Deferred[Any]:
        """Say who we are, when asked, and open the virtual host."""
        self.response, self.mechanism, self.locale = response, mechanism, locale
        started: Deferred[Any] = self.started.wait()
        return started.addCallback(lambda _: self._channel(0).connection_open(self.vhost))

    async def open_publisher(
        self,
        limit: int = 10_000,
        timeout: float = 10.0,
        closed: Callable[[Reason], None] | None = None,
    ) -> ConfirmChannel:
        """A new channel in confirm mode; ``closed`` is called if the server closes it."""
        channel = await self.open_channel()
        channel.on_close = closed
        await channel.confirm_select()
        publisher = ConfirmChannel(
            self.clock, channel.id, self.send, self.frame_max, limit, timeout
        )
        self.publishers[channel.id] = publisher
        return publisher

    async def close_publisher(self, publisher: ConfirmChannel) -> None:
        """Close a publisher's channel: what waits there for a confirm fails at once, and when this
        returns the broker takes nothing from it any more."""
        publisher.close("the channel was given up")
        self.publishers.pop(publisher.channel, None)
        channel = self.channels.get(publisher.channel)
        if channel is not None:
            await self.close_channel(channel)

    def consume(
        self,
        channel: Channel,
        queue: str,
        tag: str,
        handler: Callable[[Sequence[Delivery]], None],
        cancelled: Callable[[], None],
        arguments: Mapping[str, Any],
    ) -> Deferred[Any]:
        """basic.consume with acknowledgements, which are given by themselves. ``tag`` must be the
        only one of its name on this connection."""
        self.deliveries.add(Consumer(tag, channel.id, handler, cancelled))
        done: Deferred[Any] = channel.basic_consume(
            queue=queue, consumer_tag=tag, arguments=arguments
        )
        return done

    def cancel(self, channel: Channel, tag: str) -> None:
        """End a consumer; nothing reaches its handler after this."""
        if self.deliveries.remove(tag) is not None and not channel.closed:
            channel.basic_cancel(consumer_tag=tag, nowait=True)

    async def close_channel(self, channel: Channel) -> None:
        """Close a channel, whatever state its calls are in; its number is free afterwards."""
        if channel.closed:
            return
        channel.on_close = None
        self.deliveries.close_channel(channel.id)
        try:
            await channel.channel_close(reply_code=200)
        except Closed:
            return
        channel.close(Reason(200, "closed"))
        self._retire(channel.id)

    def _retire(self, number: int) -> None:
        self.channels.pop(number, None)
        self.deliveries.close_channel(number)
        self._retired.add(number)

    def send(self, data: bytes) -> None:
        """Write packed frames."""
        if not self.closed:
            self._pulse.sent = True
            self.transport.write(data)

    async def leave(self) -> None:
        """Say goodbye, wait for the answer, and close."""
        try:
            await self._channel(0).connection_close(reply_code=200)
        finally:
            self.do_close(Reason(200, "left"))

    def fail(self, why: str) -> None:
        """End the connection because of what came over it."""
        if self._ended is None:
            self._log.warn("AMQP connection ended: {why}", why=why)
            self._ended = Reason(0, why)
            self._frames.stopped = True
            self.transport.abortConnection()

    # -- the wire ----------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self.transport.registerProducer(self.congestion, True)
        super().connectionMade()

    def send_init_string(self) -> None:
        self.transport.write(b"AMQP\0\0\x09\x01")

    def dataReceived(self, data: bytes) -> None:
        self._pulse.received = True
        try:
            self._frames.feed(data)
        except (ProtocolError, StructError, IndexError) as e:
            self.fail(f"not AMQP 0-9-1 as RabbitMQ speaks it: {e}")

    def _frame(self, kind: int, channel: int, payload: bytes) -> None:
        """Take a frame that is no part of a delivery: a method, or a returned message's content."""
        if channel in self._retired:
            return
        if channel not in self.channels and channel != 0:
            raise ProtocolError(f"a frame on channel {channel}, which is not open")
        returned = self._returned.get(channel)
        if kind == deliveries.METHOD and returned is None:
            self._method(self._channel(channel), decode_method(payload))
        elif kind == deliveries.HEADER and returned is not None and returned.content is None:
            returned.content = Content(properties=decode_properties(payload[12:]))
            self._missing[channel] = int.from_bytes(payload[4:12])
        elif kind == deliveries.BODY and returned is not None and returned.content is not None:
            self._missing[channel] -= len(payload)
        else:
            raise ProtocolError("a frame out of place")
        if returned is not None and self._missing[channel] <= 0:
            del self._returned[channel]
            self.delegate.dispatch(self._channel(channel), returned)

    def _method(self, channel: Channel, method: Method) -> None:
        message = Message(method.method, method.args)
        if method.method.response:
            channel.replied(message)
        elif method.method.content:
            self._returned[channel.id] = message
        else:
            self.delegate.dispatch(channel, message)

    def send_frame(self, frame: Frame) -> None:
        self.send(self._pack_frame(frame))

    def _pack_frame(self, frame: Frame) -> bytes:
        payload = encode_method(frame.payload)
        number: int = frame.channel
        head = b"\x01" + number.to_bytes(2) + len(payload).to_bytes(4)
        return head + payload + b"\xce"

    def confirmed(self, channel: int, tag: int, multiple: bool) -> None:
        """basic.ack from the server."""
        if channel in self.publishers:
            self.publishers[channel].acked(tag, multiple)

    # -- life --------------------------------------------------------------------------------------

    def tune(self, channel_max: int, frame_max: int, heartbeat: int) -> tuple[int, int]:
        """Settle the limits and start the heartbeats; returns (frame_max, heartbeat). 0 from the
        server means it has no limit, or no opinion."""
        self.tuned = True
        self.channel_max = channel_max
        self.frame_max = min(frame_max or FRAME_MAX, FRAME_MAX)
        wished = self._wished_heartbeat
        interval = min(wished, heartbeat) if wished and heartbeat else wished
        if interval:
            self._pulse.start(interval)
        return self.frame_max, interval

    def channel_failed(self, channel: Channel, failure: Failure) -> None:
        reason = reason_of(failure)
        self._retire(channel.id)
        publisher = self.publishers.pop(channel.id, None)
        if publisher is not None:
            publisher.close(str(reason))
        if channel.on_close is not None:
            channel.on_close(reason)

    def do_close(self, reason: object) -> None:
        if self._ended is None:
            self._ended = reason_of(reason)
        self._frames.stopped = True
        self._pulse.stop()
        # who hears of it may open or let go of channels, so these are the channels of now
        for publisher in list(self.publishers.values()):
            publisher.close(str(self._ended))
        for channel in list(self.channels.values()):
            channel.close(reason)
        # with one, a TLS transport would wait for its end before closing
        self.transport.unregisterProducer()
        super().do_close(reason)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._lost(self._ended or reason_of(reason))
