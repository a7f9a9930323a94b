"""A client's connection with a node, and the node's end of it: what transports do."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from chatd.access.identity import Identity
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError
from chatd.rooms.interfaces import IEncoding, ISubscriber
from chatd.rooms.start_position import After, Now, Start
from chatd.service.session import Session
from tests.support.world import LINES

if TYPE_CHECKING:
    from tests.torture.simulated_node import SimulatedNode

Frame = dict[str, Any]
#: Deliveries that lie between a node and a client that does not read.
WINDOW = 3
#: Seconds that a poll waits.
WAIT = 5.0


class Line:
    """A connection of a client with a node, and the node's end of it."""

    def __init__(
        self,
        node: SimulatedNode,
        user: str,
        got: Callable[[Frame], None],
        lost: Callable[[], None],
    ) -> None:
        self.node = node
        self.up, self.down = node.wires()
        self.open = True
        self.user = user
        self._got = got
        self._lost = lost
        self.under_way = 0
        self.refused = False
        self.session = Session(node.chat, Identity(user))
        node.lines[self] = None

    # -- the client's end --------------------------------------------------------------------------

    def ask(self, work: Callable[[], Coroutine[Any, Any, Frame]], about: Frame) -> None:
        """Have ``work`` done at the node; its frame, or an error ``about`` the request, comes."""
        self.up.send(self._work, work, about)

    def close(self) -> None:
        """Hang up. The node hears of it later."""
        if self.open:
            self.open = False
            self.down.cut()
            self.up.send(self._closed)

    def cut(self) -> None:
        """The network loses the connection, and what is under way."""
        if self.open:
            self.open = False
            self.up.cut()
            self.down.cut()
            self.up.send(self._closed)
            self._lost()

    # -- the node's end ----------------------------------------------------------------------------

    def _work(self, work: Callable[[], Coroutine[Any, Any, Frame]], about: Frame) -> None:
        doing = Deferred.fromCoroutine(work())
        doing.addCallbacks(self.tell, lambda failure: self._failed(failure, about))
        doing.addErrback(self.node.crashed)

    def _failed(self, failure: Any, about: Frame) -> None:
        failure.trap(ChatError)
        self.tell({**failure.value.frame(), **about})

    def tell(self, *frames: Frame) -> None:
        """Send to the client."""
        if self.open:
            self.under_way += 1
            self.down.send(self._arrive, frames)

    def _arrive(self, frames: tuple[Frame, ...]) -> None:
        """At the client."""
        self.under_way -= 1
        if self.refused and self.under_way < WINDOW:
            self.refused = False
            self.up.send(self.session.resume)
        for frame in frames:
            if self.open:
                self._got(frame)

    def _closed(self) -> None:
        self.node.lines.pop(self, None)
        self.session.close()


@implementer(ISubscriber)
class _End:
    """A line's end for one room."""

    def __init__(self, line: Line, room: str) -> None:
        self._line = line
        self._room = room
        self.encoding: IEncoding = LINES
        self.identity = line.session.identity
        self.send: Callable[[bytes], int] | None = None

    def keep(self, rest: bytes) -> None:
        raise AssertionError("there is no send")

    def deliver(self, data: bytes, end: int) -> bool:
        return self.notify(data)

    def notify(self, data: bytes) -> bool:
        if self._line.under_way >= WINDOW:
            self._line.refused = True
            return False
        self._line.tell(*(json.loads(line) for line in data.splitlines()))
        return True

    def closed(self, error: ChatError) -> None:
        self._line.session.dropped(self._room)
        self._line.tell({"type": "left", "room": self._room})


# -- what a client asks for, as transports do ------------------------------------------------------


async def join(line: Line, room: str, after: str | None) -> Frame:
    """Join a room; what follows is told after the answer."""
    start: Start = Now() if after is None else After(Cursor.parse(after))
    joined = await line.session.join(room, _End(line, room), start)
    if joined is None:
        return {"type": "closed"}
    line.node.process.callLater(0, joined.subscription.resume)
    return {"type": "joined", "room": room, "cursor": str(joined.cursor), "gap": joined.gap}


async def publish(line: Line, room: str, request: Frame) -> Frame:
    """Publish a message."""
    chat, session = line.node.chat, line.session
    receipt = await session.publish(chat.publication(session.identity, room, **request))
    return {"type": "ack", "id": receipt.id}


async def poll(line: Line, room: str, after: str | None) -> Frame:
    """Poll for messages, and read the answer to its end."""
    start: Start = Now() if after is None else After(Cursor.parse(after))
    chat = line.node.chat
    answer = await chat.poll(line.session.identity, room, start, 100, WAIT)
    messages, cursor = list(answer.messages), answer.cursor
    if answer.rest is not None:
        while more := await answer.rest.next():
            messages += more
        cursor = answer.rest.cursor
    shown = [json.loads(m.json) for m in messages]
    return {"type": "page", "messages": shown, "cursor": str(cursor), "gap": answer.gap}
