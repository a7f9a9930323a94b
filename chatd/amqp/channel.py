"""txAMQP's channel, with replies matched to their calls.

txAMQP expects replies in the order of the calls. RabbitMQ's consume-ok for a stream comes later
than the replies to calls pipelined behind it (rabbit_stream_queue:maybe_send_reply). And when a
channel closes, txAMQP fails pending calls by a recursion that overflows with a few hundred of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import Factory, field, frozen
from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from txamqp.client import ChannelClosed, Closed, ConnectionClosed
from txamqp.connection import Frame, Method
from txamqp.message import Message
from txamqp.protocol import AMQChannel
from txamqp.queue import Closed as QueueClosed

from chatd.amqp.codec import ProtocolError
from chatd.amqp.tls import trouble_of


@frozen
class Reason:
    """Why a channel or connection ended: AMQP's reply code (0 if none was given) and text, as logs
    and clients may see it. Look for names in ``raw``: some have characters that ``text`` shows
    escaped, such as U+200C."""

    code: int
    text: str
    raw: str = field(default=Factory(lambda self: self.text, True), eq=False, repr=False)

    def __str__(self) -> str:
        return self.text


def reason_of(error: object) -> Reason:
    """The reason in an exception or a value of txAMQP."""
    if isinstance(error, Reason):
        return error
    if isinstance(error, Closed | QueueClosed) and error.args:
        return reason_of(error.args[0])
    value = getattr(error, "value", error)
    if value is not error:
        return reason_of(value)
    if isinstance(error, SSL.Error):
        return Reason(0, printable(trouble_of(error)))
    if isinstance(error, Message):
        raw = _decoded(error.reply_text)
        return Reason(error.reply_code, printable(raw), raw)
    return Reason(0, printable(str(error)) or type(error).__name__)


def printable(words: str | bytes) -> str:
    """A broker's text, for logs and clients: control characters and invalid UTF-8 are escaped.
    (RabbitMQ cuts texts at 255 bytes, also within a character.)"""
    text = _decoded(words)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _decoded(words: str | bytes) -> str:
    return words if isinstance(words, str) else words.decode("utf-8", "backslashreplace")


@frozen(eq=False)
class _Call:
    """A call that waits for its reply."""

    replies: Sequence[Any]
    done: Deferred[Any]


class Channel(AMQChannel):
    """A channel. ``on_close`` is called with a `Reason` when the server closes the channel, but not
    when the connection ends."""

    on_close: Callable[[Reason], None] | None = None

    def __init__(self, id: int, outgoing: Any, client: Any) -> None:
        super().__init__(id, outgoing, client)
        self._calls: list[_Call] = []

    def invoke(self, method: Any, args: Sequence[Any], content: None = None) -> Deferred[Any]:
        """Send ``method``; fires with the reply, a `txamqp.message.Message`, or with None if the
        method has no reply. Fails with `txamqp.client.Closed`. For publishing see
        `chatd.amqp.confirms`."""
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
        """Fire the oldest call that ``message`` is a reply to. Raises `ProtocolError`."""
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
        """The error for calls on the closed channel."""
        if isinstance(self.reason, Message):
            of_channel = self.reason.method.klass.name == "channel"
            closed: Closed = (ChannelClosed if of_channel else ConnectionClosed)(self.reason)
            return closed
        return Closed(self.reason)
