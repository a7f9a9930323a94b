"""A channel: txAMQP's, with replies matched to their calls.

txAMQP takes replies to come in the order of the calls. RabbitMQ's consume-ok for a stream does not:
it is overtaken by the replies to calls pipelined behind it (rabbit_stream_queue:maybe_send_reply).
And txAMQP fails those who wait for replies by a recursion that a few hundred of them overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from txamqp.client import ChannelClosed, Closed, ConnectionClosed
from txamqp.connection import Frame, Method
from txamqp.message import Message
from txamqp.protocol import AMQChannel
from txamqp.queue import Closed as QueueClosed

from chatd.amqp.codec import ProtocolError


@frozen
class Reason:
    """Why a channel or connection ended: AMQP's reply code (0 if none was given) and text."""

    code: int
    text: str

    def __str__(self) -> str:
        return self.text


def reason_of(error: object) -> Reason:
    """Read the reason out of what txAMQP raises or hands on."""
    if isinstance(error, Reason):
        return error
    if isinstance(error, Closed | QueueClosed) and error.args:
        return reason_of(error.args[0])
    value = getattr(error, "value", error)
    if value is not error:
        return reason_of(value)
    if isinstance(error, Message):
        return Reason(error.reply_code, printable(error.reply_text))
    return Reason(0, printable(str(error)) or type(error).__name__)


def printable(words: str | bytes) -> str:
    """What a broker said, fit for a log and for clients: control characters are escaped, and so is
    what is no UTF-8 (RabbitMQ cuts a text at 255 bytes, wherever that is)."""
    text = words if isinstance(words, str) else words.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@frozen(eq=False)
class _Call:
    """A method sent, whose reply has not come."""

    replies: Sequence[Any]
    done: Deferred[Any]


class Channel(AMQChannel):
    """``on_close`` is called with a `Reason` when the server closes this channel alone."""

    on_close: Callable[[Reason], None] | None = None

    def __init__(self, id: int, outgoing: Any, client: Any) -> None:
        super().__init__(id, outgoing, client)
        self._calls: list[_Call] = []

    def invoke(self, method: Any, args: Sequence[Any], content: None = None) -> Deferred[Any]:
        """Send ``method``; fires with the reply's `txamqp.message.Message`, or None if it has
        none. Fails with `txamqp.client.Closed`. Publishing is `chatd.amqp.confirms`'s."""
        if self.closed:
            return fail(self._why())
        self.client.send_frame(Frame(self.id, Method(method, *args)))
        nowait = method.fields.byname.get("nowait")
        if not method.responses or (nowait is not None and args[method.fields.index(nowait)]):
            return succeed(None)
        call = _Call(method.responses, Deferred())
        self._calls.append(call)
        return call.done

    def replied(self, message: Message) -> None:
        """A reply has come."""
        for call in self._calls:
            if message.method in call.replies:
                self._calls.remove(call)
                if not call.done.called:
                    call.done.callback(message)
                return
        raise ProtocolError(f"{message.method} in answer to nothing")

    def do_close(self, reason: Any) -> None:
        calls, self._calls = self._calls, []
        super().do_close(reason)
        for call in calls:
            if not call.done.called:
                call.done.errback(self._why())

    def _why(self) -> Closed:
        """The error for whoever calls, or waits, now that the channel is closed."""
        if isinstance(self.reason, Message):
            of_channel = self.reason.method.klass.name == "channel"
            closed: Closed = (ChannelClosed if of_channel else ConnectionClosed)(self.reason)
            return closed
        return Closed(self.reason)
