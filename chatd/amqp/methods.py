"""Methods of a connection, put together from their frames."""

from __future__ import annotations

from txamqp.content import Content
from txamqp.message import Message

from chatd.amqp.codec import ProtocolError, decode_method, decode_properties
from chatd.amqp.deliveries import BODY, CONTENT_HEAD, HEADER, METHOD


class MethodReader:
    """Reads methods on all channels of a connection. A method with content, such as basic.return,
    takes several frames. Deliveries are not read here (`chatd.amqp.deliveries`)."""

    def __init__(self) -> None:
        #: By channel: a method whose content is incomplete, and how many bytes of its body miss.
        self._incomplete: dict[int, Message] = {}
        self._missing: dict[int, int] = {}

    def take(self, kind: int, channel: int, payload: bytes) -> Message | None:
        """Take a frame; the method, if it completes one. Raises `ProtocolError`."""
        incomplete = self._incomplete.get(channel)
        if kind == METHOD and incomplete is None:
            return self._begin(channel, payload)
        if kind == HEADER and incomplete is not None and incomplete.content is None:
            incomplete.content = Content(properties=decode_properties(payload[CONTENT_HEAD:]))
            self._missing[channel] = int.from_bytes(payload[4:CONTENT_HEAD])
        elif kind == BODY and incomplete is not None and incomplete.content is not None:
            self._missing[channel] -= len(payload)
        else:
            raise ProtocolError("a frame out of place")
        if self._missing[channel] > 0:
            return None
        del self._incomplete[channel]
        return incomplete

    def _begin(self, channel: int, payload: bytes) -> Message | None:
        method = decode_method(payload)
        message = Message(method.method, method.args)
        if method.method.response or not method.method.content:
            return message
        self._incomplete[channel] = message
        return None
