"""Clients over the simulated network, and the ends that a node has of them.

A client knows the contract alone: it sends a message again, under its id, until it is acknowledged;
it comes back with the cursor it has, anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.torture.history import just_before, outcome
from tests.torture.simulated_line import Frame, Line, join, poll, publish

if TYPE_CHECKING:
    from tests.torture.simulated_node import SimulatedNode

#: Seconds until a client tries again, at first and at most; and until it takes a node that does not
#: answer for dead.
AGAIN, SLOWEST, ANSWER = 0.3, 5.0, 20.0


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
