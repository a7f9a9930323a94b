"""The connection: txAMQP's `AMQClient`, corrected, and faster in both directions.

txAMQP's faults are mended in these modules: ``codec``, ``spec`` (it has none), ``channel``
(replies), ``delegate`` (the server's own methods), ``pulse`` (heartbeats), ``frames`` and
``methods`` (reading); and here: the protocol header, and errors in frames, which txAMQP ignores.
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
from txamqp.connection import Frame
from txamqp.protocol import AMQClient

from chatd.amqp.channel import Channel, Reason, reason_of
from chatd.amqp.codec import ProtocolError, encode_method
from chatd.amqp.confirms import ConfirmChannel, Waiting
from chatd.amqp.delegate import Delegate
from chatd.amqp.deliveries import Consumer, Deliveries, Delivery
from chatd.amqp.frames import FRAME_MAX, FrameReader
from chatd.amqp.methods import MethodReader
from chatd.amqp.numbers import ChannelNumbers
from chatd.amqp.outgoing import Outgoing
from chatd.amqp.pulse import Congestion, Heartbeats
from chatd.amqp.spec import SPEC


class Client(AMQClient):
    """One connection to the broker.

    ``heartbeat`` is in seconds, 0 for none. ``properties`` are shown by the broker's management
    tools. ``lost`` is called once, with a `Reason`, when the connection has ended. ``blocked`` is
    the broker's reason while it accepts no publishes
    (https://www.rabbitmq.com/connection-blocked.html), else None.
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
        # 0 turns txAMQP's own heartbeats off, which start and stop two timers for every frame
        super().__init__(Delegate(), vhost, SPEC, heartbeat=0, clock=clock)
        self.properties = properties
        self.blocked: str | None = None
        self._blocked_at = 0.0
        #: The broker's product and version, once it has greeted us.
        self.server = ""
        self.publishers: dict[int, ConfirmChannel] = {}
        self._waiting = Waiting()
        self._outgoing = Outgoing(clock, self._held_up)
        self.deliveries = Deliveries(self.send, clock)
        self.frame_max = FRAME_MAX
        self.channel_max = 0
        self.tuned = False
        self.congestion = Congestion()
        self._wished_heartbeat = heartbeat
        self._lost = lost
        self._frames = FrameReader(self.deliveries, self.publishers, self._frame)
        self._numbers = ChannelNumbers()
        self._methods = MethodReader()
        self._ended: Reason | None = None
        self._pulse = Heartbeats(
            clock, self.send, lambda: self.fail("the broker has fallen silent")
        )

    # -- channels ----------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the connection has ended, or is ending; ``closed`` is true a moment later."""
        return self._ended is not None

    async def open_channel(self) -> Channel:
        """Open a channel. Raises `ProtocolError` if all are in use, and `Closed` once the
        connection has ended."""
        if self._ended is not None:  # those who are told of the end must not add to what ends
            raise Closed(self._ended)
        number = self._numbers.take(self.channels, self.channel_max or 65_535)
        self.deliveries.open_channel(number)
        channel = self._channel(number)
        try:
            await channel.channel_open()
        except Closed:
            raise
        except Exception:  # not when the connection is garbage: GeneratorExit
            self.abandon(channel)  # the broker may open it yet
            raise
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
        """Authenticate when the server asks, and open the virtual host."""
        self.response, self.mechanism, self.locale = response, mechanism, locale
        started: Deferred[Any] = self.started.wait()
        return started.addCallback(lambda _: self._channel(0).connection_open(self.vhost))

    async def open_publisher(
        self,
        limit: int = 10_000,
        timeout: float = 10.0,
        closed: Callable[[Reason], None] | None = None,
    ) -> ConfirmChannel:
        """Open a channel in confirm mode; see `ConfirmChannel` for ``limit`` and ``timeout``.
        ``closed`` is called if the server closes the channel."""
        channel = await self.open_channel()
        channel.on_close = closed
        await channel.confirm_select()
        publisher = ConfirmChannel(
            self.clock, channel.id, self.send, self.frame_max, self._waiting, limit, timeout
        )
        self.publishers[channel.id] = publisher
        return publisher

    async def close_publisher(self, publisher: ConfirmChannel) -> None:
        """Close a publisher's channel. Publishes without a confirm fail at once. When this returns,
        the broker stores nothing more from the channel."""
        if self.publishers.get(publisher.channel) is not publisher:
            return  # the broker has closed it, and another may have its number
        publisher.close("the channel was given up")
        del self.publishers[publisher.channel]
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
        """Send basic.consume; deliveries are acknowledged automatically. ``handler`` gets them in
        batches. ``tag`` must be unique on this connection. ``cancelled`` is called if the server
        ends the consumer."""
        self.deliveries.add(Consumer(tag, channel.id, handler, cancelled))
        done: Deferred[Any] = channel.basic_consume(
            queue=queue, consumer_tag=tag, arguments=arguments
        )
        return done

    def cancel(self, channel: Channel, tag: str) -> None:
        """End a consumer. Its handler is not called any more."""
        if self.deliveries.remove(tag) is not None and not channel.closed:
            channel.basic_cancel(consumer_tag=tag, nowait=True)

    async def close_channel(self, channel: Channel) -> None:
        """Close a channel, also while calls are pending. Its number is free afterwards."""
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

    def abandon(self, channel: Channel) -> None:
        """Close a channel that nobody waits for any more."""
        closing = Deferred.fromCoroutine(self.close_channel(channel))
        closing.addErrback(lambda f: self._log.failure("Closing a channel failed", f))

    def _retire(self, number: int) -> None:
        self.channels.pop(number, None)
        self.deliveries.close_channel(number)
        self._numbers.retire(number)

    def send(self, data: bytes, alone: bool = True) -> None:
        """Write encoded frames: at once if they are ``alone``, else together with others."""
        if not self.closed:
            self._pulse.sent = True
            (self._outgoing.write if alone else self._outgoing.gather)(data)

    async def leave(self) -> None:
        """Close the connection after the server's close-ok."""
        try:
            await self._channel(0).connection_close(reply_code=200)
        finally:
            self.do_close(Reason(200, "left"))

    def fail(self, why: str) -> None:
        """Abort the connection, for the reason ``why``."""
        if self._ended is None:
            self._ended = Reason(0, why)
            self._stop()
            self.transport.abortConnection()

    def _held_up(self) -> None:
        self.fail("this process stood still before it sent what was published")

    def _stop(self) -> None:
        """Read no more frames, and write none that wait."""
        self._frames.stopped = True
        self._outgoing.end()
        self.deliveries.end()

    # -- the wire ----------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self.transport.registerProducer(self.congestion, True)
        self._outgoing.begin(self.transport)
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
        """Take a frame that is not part of a delivery."""
        if self._numbers.retired(channel):
            return
        if channel not in self.channels and channel != 0:
            raise ProtocolError(f"a frame on channel {channel}, which is not open")
        method = self._methods.take(kind, channel, payload)
        if method is None:
            return
        if method.method.response:
            self._channel(channel).replied(method)
        else:
            self.delegate.dispatch(self._channel(channel), method)

    def send_frame(self, frame: Frame) -> None:
        payload = encode_method(frame.payload)
        number: int = frame.channel
        head = b"\x01" + number.to_bytes(2) + len(payload).to_bytes(4)
        self.send(head + payload + b"\xce")

    def confirmed(self, channel: int, tag: int, multiple: bool) -> None:
        """The server has sent basic.ack."""
        if channel in self.publishers:
            self.publishers[channel].acked(tag, multiple)

    def block(self, why: str) -> None:
        """The broker takes no messages, because of ``why``."""
        if self.blocked is None:
            self._blocked_at = self.clock.seconds()
            self._log.warn("RabbitMQ takes no messages: {why}", why=why)
        self.blocked = why

    def unblock(self) -> None:
        """It takes messages again."""
        self.blocked = None
        lasted = self.clock.seconds() - self._blocked_at
        self._log.info("RabbitMQ takes messages again after {seconds:.0f} s", seconds=lasted)

    # -- life --------------------------------------------------------------------------------------

    def tune(self, channel_max: int, frame_max: int, heartbeat: int) -> tuple[int, int]:
        """Negotiate limits, and start heartbeats; returns (frame_max, heartbeat). A 0 from the
        server means no limit, or no preference."""
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
        # why it was given up says more than how the transport ended
        reason, self._ended = self._ended or reason, self._ended or reason_of(reason)
        self._stop()
        self._pulse.stop()
        # copies, because those who are told may open or close channels
        for publisher in list(self.publishers.values()):
            publisher.close(str(self._ended))
        for channel in list(self.channels.values()):
            channel.close(reason)
        # a TLS transport would not close before its producer has ended
        self.transport.unregisterProducer()
        super().do_close(reason)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._lost(self._ended or reason_of(reason))
