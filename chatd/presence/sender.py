"""What a node tells the others of its own users: changes, snapshots, signs of life.

A long payload goes in parts with pauses between them: a broker refuses long payloads, and drops
what comes faster than it takes it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from chatd.brokers.interfaces import IBroker
from chatd.presence.board import PresenceBoard
from chatd.presence.payloads import PresenceChange, divide
from chatd.protocol.json import dump

#: Seconds over which changes are gathered into one payload.
GATHER = 0.05
#: Seconds between the parts of a long payload.
PAUSE = 0.02


class PresenceSender:
    """Broadcasts the users of this node. Changes and snapshots are numbered, so that a node that
    misses one knows."""

    def __init__(self, presence: PresenceBoard, broker: IBroker, clock: IReactorTime) -> None:
        self._presence = presence
        self._broker = broker
        self._clock = clock
        self._number = 0
        #: The latest of each room and user, and before it the latest that may be answered.
        self._changes: dict[tuple[str, str, bool], PresenceChange] = {}
        self._typing: set[tuple[str, str]] = set()
        #: Parts yet to be sent, and whether a snapshot was asked for since they were made.
        self._parts: deque[tuple[str, dict[str, Any]]] = deque()
        self._snapshot_wanted = False
        self._sending: IDelayedCall | None = None

    def stop(self) -> None:
        """Say goodbye, so that the others need not wait for the silence. First they are told who
        has left, lest they take it that the users go only now."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        self._gather()
        while self._parts:
            kind, more = self._parts.popleft()
            self.send(kind, **more)
        self.send("bye")

    def changed(self, room: str, user: str, here: bool) -> None:
        """A user of this node came to ``room``, or left it: tell the others soon.

        That this was the last node with the user is told also if the user is back by then: another
        node, where the user was already, answers by announcing the user.
        """
        self._tell_soon()
        elsewhere = self._presence.here(room, user)
        last = not here and not elsewhere
        self._changes.pop((room, user, False), None)
        self._changes.pop((room, user, last), None)
        self._changes[room, user, last] = (room, user, here, not here and elsewhere)

    def typing(self, room: str, user: str) -> None:
        """A user of this node is typing: tell the others soon."""
        self._tell_soon()
        self._typing.add((room, user))

    def _tell_soon(self) -> None:
        if not self._changes and not self._typing:
            self._clock.callLater(GATHER, self._tell)

    def _tell(self) -> None:
        if self._parts:
            self._clock.callLater(GATHER, self._tell)  # the parts describe an earlier state
            return
        self._gather()
        self._send_part()

    def _gather(self) -> None:
        changes, self._changes = self._changes, {}
        typing, self._typing = self._typing, set()
        for some in divide(changes.values()):
            self._parts.append(("changes", {"changes": some}))
        for told in divide(typing):
            self._parts.append(("typing", {"typing": told}))

    def send_snapshot(self) -> None:
        """Tell the others of all users of this node. If parts are still being sent, another
        snapshot follows them: whoever asks now may have missed some."""
        if self._parts:
            self._snapshot_wanted = True
            return
        here = [(room, user) for room, users in self._presence.local().items() for user in users]
        parts = list(divide(here)) or [[]]
        for n, part in enumerate(parts):
            rooms: dict[str, list[str]] = {}
            for room, user in part:
                rooms.setdefault(room, []).append(user)
            self._parts.append(("snapshot", {"rooms": rooms, "part": n, "of": len(parts)}))
        self._send_part()

    def _send_part(self) -> None:
        self._sending = None
        if not self._parts:
            return
        kind, more = self._parts.popleft()
        self.send(kind, **more)
        if self._parts:
            self._sending = self._clock.callLater(PAUSE, self._send_part)
        elif self._snapshot_wanted:
            self._snapshot_wanted = False
            self.send_snapshot()

    def send(self, kind: str, **more: Any) -> None:
        """Broadcast one payload now."""
        if kind == "changes" or (kind == "snapshot" and more["part"] == 0):
            self._number += 1
        payload = {"node": self._presence.node, "n": self._number, "kind": kind, **more}
        self._broker.broadcast(dump(payload))
