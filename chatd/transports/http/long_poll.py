"""Long-polling: reading, and waiting for the next message."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError

from chatd.access.identity import Identity
from chatd.protocol.errors import ChatError
from chatd.protocol.messages import Message
from chatd.rooms.start_position import Last, Since, Start
from chatd.service.reading import Answer, Reading
from chatd.transports.http.call import Call
from chatd.transports.http.parameters import wait_of
from chatd.transports.http.poll_presence import Pollers

T = TypeVar("T")


async def held_poll(
    pollers: Pollers, call: Call, identity: Identity, name: str, start: Start, limit: int
) -> Answer:
    """`Chat.poll` with ``wait`` from the query. A poll that may wait counts as a connection, and is
    cancelled when the client disconnects. A named caller becomes present, unless it only reads old
    messages. HEAD neither waits nor makes anybody present. What the request says is let go of: see
    `LimitedRequest.forget_head`.
    """
    wait, address = wait_of(call), call.caller.address
    poller = identity.user and (wait or not isinstance(start, Last | Since))
    if call.asks_for_head:
        wait, poller = 0.0, ""
    release = call.admission.connections.admit(address) if wait else lambda: None
    try:
        if poller:
            await pollers.chat.admit(identity, name)
            pollers.seen(identity, name, address)
        call.request.forget_head()
        found = await while_proved(
            call, identity, pollers.chat.poll(identity, name, start, limit, wait)
        )
        if poller:
            pollers.seen(identity, name, address)
        return found
    finally:
        release()


def listing(messages: Sequence[Message]) -> bytes:
    """The messages as a JSON array."""
    return b"[" + commas(messages) + b"]"


async def while_proved(call: Call, identity: Identity, work: Coroutine[Any, Any, T]) -> T:
    """Do ``work``. It is cancelled when the client disconnects; and when the token of ``identity``
    expires or its key is withdrawn, which raises `ChatError`."""
    doing = call.with_client(work)
    ended: list[ChatError] = []

    def end(why: ChatError) -> None:
        ended.append(why)
        doing.cancel()

    held = call.admission.standing.hold(identity, end)
    try:
        return await doing
    except CancelledError:
        if ended:
            raise ended[0] from None
        raise
    finally:
        held.release()


def commas(messages: Sequence[Message]) -> bytes:
    """The elements of a JSON array of messages, without the brackets."""
    return b",".join([m.json for m in messages])


class MessagePages:
    """The pieces of a JSON object with a long array of messages: ``before``, which ends after the
    first messages; the messages of ``rest``, as long as ``proved()``, for a client may take an hour
    to read them; and the result of ``after``."""

    def __init__(
        self, before: bytes, rest: Reading, after: Callable[[], bytes], proved: Callable[[], bool]
    ) -> None:
        self._before = before
        self._rest: Reading | None = rest
        self._after = after
        self._proved = proved

    async def next(self) -> bytes:
        """See `chatd.transports.http.answer.Pieces`."""
        if self._before:
            before, self._before = self._before, b""
            return before
        if self._rest is None:
            return b""
        if self._proved() and (messages := await self._rest.next()):
            return b"," + commas(messages)
        self._rest = None
        return self._after()
