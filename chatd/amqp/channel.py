"""A channel: txAMQP's, with replies that fail flatly when it closes, however many are awaited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from txamqp.client import Closed
from txamqp.connection import Frame, Method
from txamqp.message import Message
from txamqp.protocol import AMQChannel
from txamqp.queue import Closed as QueueClosed
from txamqp.queue import TimeoutDeferredQueue

from chatd.amqp.codec import ProtocolError


@define(frozen=True)
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
        return Reason(error.reply_code, str(error.reply_text))
    return Reason(0, str(error) or type(error).__name__)


class _Replies(TimeoutDeferredQueue):  # type: ignore[misc]
    """txAMQP hands its end mark from one waiter to the next, recursively: a few hundred pipelined
    calls overflow the stack when the connection goes. This one fails them one by one."""

    ended = False

    def get(self, timeout: float | None = None) -> Deferred[Any]:
        if self.ended and not self.pending:
            self.pending.append(TimeoutDeferredQueue.END)
        return super().get(timeout)

    def put(self, obj: object) -> None:
        if obj is not TimeoutDeferredQueue.END:
            super().put(obj)
            return
        self.ended = True
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            waiter.callback(obj)


class Channel(AMQChannel):  # type: ignore[misc]
    """``on_close`` is called with a `Reason` when the server closes this channel alone."""

    on_close: Callable[[Reason], None] | None = None

    def __init__(self, id: int, outgoing: Any, client: Any) -> None:
        super().__init__(id, outgoing, client)
        self.incoming = _Replies(client.clock)
        self.responses = _Replies(client.clock)

    def invoke(self, method: Any, args: Sequence[Any], content: None = None) -> Deferred[Any]:
        """Send ``method``; fires with the reply's `txamqp.message.Message`, or None if it has
        none. Fails with `txamqp.client.Closed`. Publishing is `chatd.amqp.confirms`'s."""
        return Deferred.fromCoroutine(self._invoke(method, args))

    async def _invoke(self, method: Any, args: Sequence[Any]) -> Any:
        if self.closed:
            self._raise_closed(self.reason)
        self.client.send_frame(Frame(self.id, Method(method, *args)))
        nowait = method.fields.byname.get("nowait")
        if not method.responses or (nowait is not None and args[method.fields.index(nowait)]):
            return None
        try:
            reply = (await self.responses.get()).payload
        except QueueClosed:
            self._raise_closed(self.reason)
        if reply.method not in method.responses:
            raise ProtocolError(f"{reply.method} in answer to {method}")
        return Message(reply.method, reply.args)
