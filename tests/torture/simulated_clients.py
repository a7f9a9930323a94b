"""Clients over the simulated network, and the ends that a node has of them.

A client knows the contract alone: it sends a message again, under its id, until it is acknowledged;
it comes back with the cursor it has, anywhere.
"""

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
from tests.torture.history import just_before, outcome

if TYPE_CHECKING:
    from tests.torture.simulated_node import SimulatedNode

Frame = dict[str, Any]
#: Seconds until a client tries again, at first and at most; and until it takes a node that does not
#: answer for dead.
AGAIN, SLOWEST, ANSWER = 0.3, 5.0, 20.0
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
        self.session = Session(node.chat, Identity(user), self._end)
        node.lines[self] = None

    def _end(self, room: str) -> ISubscriber:
        return _End(self, room)

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
    joined = await line.session.join(room, start)
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


# -- writers and readers ---------------------------------------------------------------------------


class SimulatedClient:
    """Somebody with a name and at most one connection."""

    def __init__(self, name: str, room: str, pick: Callable[[int], SimulatedNode], note: Any):
        self.name, self.room = name, room
        self.node = 0
        self.stopping = False
        self.line: Line | None = None
        self._pick = pick
        self._note = note
        self._retry: Any = None
        self._failures = 0

    def patience(self) -> float:
        """Seconds to wait after one more failure."""
        self._failures += 1
        return min(SLOWEST, AGAIN * 2.0 ** min(self._failures - 1, 8))

    def connect(self) -> None:
        """Connect to the node of choice, or to the next that runs."""
        if self.line is None and not self.stopping:
            self.line = Line(self._pick(self.node), self.name, self.got, self.lost)
            self.opened(self.line)

    def again(self) -> None:
        """Connect after a while."""
        clock = self._pick(self.node).network
        if self._retry is None or not self._retry.active():
            self._retry = clock.callLater(self.patience(), self.connect)

    def move(self, node: int) -> None:
        """Hang up, and go on at another node."""
        self.node = node
        self.leave()
        self.connect()

    def leave(self) -> None:
        """Hang up."""
        line, self.line = self.line, None
        if line is not None:
            line.close()
            self.hung_up(line)

    def lost(self) -> None:
        """The connection broke."""
        line, self.line = self.line, None
        if line is not None:
            self.node += 1
            self.hung_up(line)
            self.again()

    def opened(self, line: Line) -> None:
        """A connection begins."""

    def hung_up(self, line: Line) -> None:
        """A connection has ended."""

    def got(self, frame: Frame) -> None:
        """A frame has come."""


class SimulatedWriter(SimulatedClient):
    """Publishes what it is told to; each message again until it is acknowledged."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.number = 0
        self.connections = 0
        #: Messages that wait for an acknowledgement, with the cursor they were first sent after;
        #: and those of them that are under way.
        self.pending: dict[str, str | None] = {}
        self.sent: set[str] = set()
        self.read: str | None = None
        self._sent_once: set[str] = set()

    def say(self, number: int) -> None:
        """Publish so many messages, one behind the other."""
        for _ in range(number):
            id = f"{self.name}-{self.number}"
            self.number += 1
            self.pending[id] = self.read
            self.send(id)
        self.connect()

    def send(self, id: str) -> None:
        """Send a message that is pending."""
        line = self.line
        if line is None or id not in self.pending or id in self.sent:
            return
        self.sent.add(id)
        request: Frame = {"id": id, "text": f"text of {id}"}
        if id in self._sent_once and self.pending[id] is not None:
            request["after"] = self.pending[id]
        self._sent_once.add(id)
        connection = f"{self.name}/{self.connections}"
        self._note("publish", **self._about(id, line), connection=connection)
        line.ask(lambda: publish(line, self.room, request), {"id": id})
        line.node.network.callLater(ANSWER, self._unanswered, line, id)

    def _about(self, id: str, line: Line) -> Frame:
        return {"room": self.room, "user": self.name, "id": id, "node": line.node.name}

    def _unanswered(self, line: Line, id: str) -> None:
        if self.line is line and id in self.sent:
            line.cut()

    def opened(self, line: Line) -> None:
        self.connections += 1
        line.ask(lambda: join(line, self.room, None), {"joining": True})
        for id in list(self.pending):
            self.send(id)

    def hung_up(self, line: Line) -> None:
        for id in sorted(self.sent):
            self._answered(id, line, "unknown")
        if self.pending:
            self.again()

    def got(self, frame: Frame) -> None:
        line = self.line
        assert line is not None
        if frame["type"] in ("joined", "message"):
            self.read = frame["cursor"]
        elif frame["type"] in ("ack", "error") and frame.get("id") in self.sent:
            said = "stored" if frame["type"] == "ack" else outcome(frame)
            self._answered(frame["id"], line, said)

    def _answered(self, id: str, line: Line, result: str) -> None:
        self.sent.discard(id)
        self._note("answer", **self._about(id, line), result=result)
        if result == "stored":
            del self.pending[id]
            self._failures = 0
        else:
            line.node.network.callLater(self.patience(), self.send, id)


class SimulatedReader(SimulatedClient):
    """Reads its room over whatever it is told to, with the cursor it has."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.cursor: str | None = None
        self.polls = False
        self.polled = 0.0

    def opened(self, line: Line) -> None:
        self._ask(line)

    def _ask(self, line: Line) -> None:
        if self.line is line:
            ask = poll if self.polls else join
            line.ask(lambda: ask(line, self.room, self.cursor), {"asked": True})

    def got(self, frame: Frame) -> None:
        line = self.line
        assert line is not None
        match frame["type"]:
            case "joined":
                self._attached(line, frame["cursor"], frame["gap"])
            case "message":
                self._got(line, frame)
            case "gap":
                self._gap(frame["cursor"])
            case "page":
                self._page(line, frame)
            case "error" | "left":
                line.node.network.callLater(self.patience(), self._ask, line)

    def _page(self, line: Line, page: Frame) -> None:
        messages = page["messages"]
        if self.cursor is None:
            self._attached(line, page["cursor"], page["gap"])
        elif page["gap"]:
            self._gap(just_before(messages[0]["cursor"]) if messages else page["cursor"])
        for message in messages:
            self._got(line, message)
        self.cursor = page["cursor"]
        self._ask(line)

    def _attached(self, line: Line, cursor: str, gap: bool) -> None:
        about = {"reader": self.name, "room": self.room, "node": line.node.name}
        how = "poll" if self.polls else "socket"
        self._failures = 0
        self._note("attach", **about, transport=how, after=self.cursor, cursor=cursor, gap=gap)
        self.cursor = cursor

    def _got(self, line: Line, message: Frame) -> None:
        about = {"reader": self.name, "room": self.room, "node": line.node.name}
        self._note("message", **about, message=message)
        self.cursor = message["cursor"]

    def _gap(self, cursor: str) -> None:
        self._note("gap", reader=self.name, room=self.room, cursor=cursor)
        self.cursor = cursor
