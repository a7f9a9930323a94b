"""Methods that the server sends unasked. txAMQP's delegate lacks confirms (basic.ack and basic.nack
from the server), basic.cancel and connection.blocked."""

from __future__ import annotations

from typing import Any

from txamqp.client import TwistedDelegate
from txamqp.spec import pythonize

from chatd.amqp.channel import printable
from chatd.amqp.codec import ProtocolError

#: https://www.rabbitmq.com/consumer-cancel.html, connection-blocked.html, auth-notification.html
CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}


class Delegate(TwistedDelegate):
    """Handles methods that the server sends unasked."""

    #: The `chatd.amqp.client.Client`, set by txAMQP.
    client: Any

    def dispatch(self, channel: Any, message: Any) -> None:
        what = message.method
        answer = getattr(self, f"{pythonize(what.klass.name)}_{pythonize(what.name)}", None)
        if answer is None:
            raise ProtocolError(f"a broker does not say {what.klass.name}.{what.name}")
        answer(channel, message)

    def connection_start(self, ch: Any, msg: Any) -> None:
        said = msg.server_properties
        self.client.server = printable(f"{said.get('product', '')} {said.get('version', '')}")
        if self.client.mechanism not in str(msg.mechanisms).split():
            raise ProtocolError(f"the broker offers {printable(msg.mechanisms)}, not PLAIN")
        ch.connection_start_ok(
            client_properties=dict(self.client.properties, capabilities=CAPABILITIES),
            mechanism=self.client.mechanism,
            response=self.client.response,
            locale=self.client.locale,
        )

    def connection_tune(self, ch: Any, msg: Any) -> None:
        if self.client.tuned:
            raise ProtocolError("limits settled twice")
        frame_max, heartbeat = self.client.tune(msg.channel_max, msg.frame_max, msg.heartbeat)
        ch.connection_tune_ok(msg.channel_max, frame_max, heartbeat)
        self.client.started.fire()

    def connection_blocked(self, ch: Any, msg: Any) -> None:
        self.client.block(printable(msg.reason) or "the broker is short of resources")

    def connection_unblocked(self, ch: Any, msg: Any) -> None:
        self.client.unblock()

    def basic_return_(self, ch: Any, msg: Any) -> None:
        publisher = self.client.publishers.get(ch.id)
        if publisher is not None:
            publisher.returned(msg.routing_key, msg.content.properties.get("message-id", ""))

    def basic_ack(self, ch: Any, msg: Any) -> None:
        self.client.confirmed(ch.id, msg.delivery_tag, msg.multiple)

    def basic_nack(self, ch: Any, msg: Any) -> None:
        publisher = self.client.publishers.get(ch.id)
        if publisher is not None:
            publisher.nacked(msg.delivery_tag, msg.multiple)

    def basic_cancel(self, ch: Any, msg: Any) -> None:
        consumer = self.client.deliveries.remove(msg.consumer_tag)
        if consumer is not None:
            consumer.cancelled()
