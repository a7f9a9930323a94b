"""Who is here now, on all nodes.

A user is present in a room while any of its connections, on any node, takes part in it. Each node
holds its own users, and what the others told of theirs (`chatd.gossip`). Comings and goings are
told about once a second, so a thousand who reconnect at once cost each member one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

#: Above this many members only their number is told.
PRESENCE_LIMIT = 200
#: Seconds over which comings and goings are gathered.
COALESCE = 1.0


class Audience(Protocol):
    """Shows comings and goings to those who are in a room."""

    def show(self, room: str, joined: list[str], left: list[str], count: int) -> None:
        """``joined`` and ``left`` are both empty above the presence limit."""

    def show_typing(self, room: str, user: str) -> None:
        """``user`` is typing, on another node."""


@frozen
class Members:
    """Who is in a room: names up to the presence limit, and how many in all."""

    names: list[str]
    count: int


@define(eq=False)
class _Room:
    #: Connections by user and node; a user is present while it has any.
    here: dict[str, dict[str, int]] = field(factory=dict)
    #: What the members were last told, for users with a change since.
    before: dict[str, bool] = field(factory=dict)
    #: Changed users whom somebody has meanwhile been shown in their new state.
    shown: set[str] = field(factory=set)


class Presence:
    """The presence board of one node, ``node`` being its own name among the others."""

    def __init__(self, clock: IReactorTime, node: str, limit: int = PRESENCE_LIMIT) -> None:
        self.node = node
        self.limit = limit
        #: Told of this node's own users, for other nodes: room, user, whether here.
        self.on_local: Callable[[str, str, bool], None] = lambda room, user, here: None
        #: Told when a user comes to or goes from all nodes taken together: room, user, whether
        #: here, and the node it was about.
        self.on_change: Callable[[str, str, bool, str], None] = lambda room, user, here, node: None
        #: Told that one of this node's own users is typing: room, user.
        self.on_typing: Callable[[str, str], None] = lambda room, user: None
        self._clock = clock
        self._audience: Audience | None = None
        self._rooms: dict[str, _Room] = {}
        self._changed: set[str] = set()

    def show_to(self, audience: Audience) -> None:
        """Tell ``audience`` of comings and goings from now on."""
        self._audience = audience

    # -- this node's own ---------------------------------------------------------------------------

    def enter(self, room: str, user: str) -> None:
        """One more connection of ``user`` takes part in ``room``."""
        count = self._rooms.get(room, _NOBODY).here.get(user, {}).get(self.node, 0)
        self._set(room, user, self.node, count + 1)
        if count == 0:
            self.on_local(room, user, True)

    def leave(self, room: str, user: str) -> None:
        """One connection fewer."""
        count = self._rooms.get(room, _NOBODY).here.get(user, {}).get(self.node, 0)
        if count:
            self._set(room, user, self.node, count - 1)
        if count == 1:
            self.on_local(room, user, False)

    def typing(self, room: str, user: str) -> None:
        """``user`` is typing, here."""
        self.on_typing(room, user)

    def local(self) -> dict[str, list[str]]:
        """This node's users by room."""
        return {
            name: users
            for name, room in self._rooms.items()
            if (users := [u for u, nodes in room.here.items() if self.node in nodes])
        }

    # -- other nodes -------------------------------------------------------------------------------

    def remote(self, node: str, room: str, user: str, here: bool) -> None:
        """Another node says that ``user`` is, or is no longer, in ``room`` there."""
        self._set(room, user, node, 1 if here else 0)

    def remote_typing(self, room: str, user: str) -> None:
        """Another node says that ``user`` is typing there."""
        if self._audience is not None:
            self._audience.show_typing(room, user)

    def replace(self, node: str, rooms: Mapping[str, Iterable[str]]) -> None:
        """Another node says who is there in all; whoever it does not name is not."""
        told = {(room, user) for room, users in rooms.items() for user in users}
        for room, user in self._of(node) - told:
            self._set(room, user, node, 0)
        for room, user in told:
            self._set(room, user, node, 1)

    def drop(self, node: str) -> None:
        """Another node is gone, and its users with it."""
        self.replace(node, {})

    def _of(self, node: str) -> set[tuple[str, str]]:
        return {
            (name, user)
            for name, room in self._rooms.items()
            for user, nodes in room.here.items()
            if node in nodes
        }

    # -- the board ---------------------------------------------------------------------------------

    def members(self, room: str) -> Members:
        """Who is in ``room``, for one who will be told of changes from now on."""
        board = self._rooms.get(room, _NOBODY)
        if board is not _NOBODY:
            board.shown.update(u for u, was in board.before.items() if (u in board.here) != was)
        names = sorted(board.here) if len(board.here) <= self.limit else list(board.here)
        return Members(names[: self.limit], len(board.here))

    def _set(self, name: str, user: str, node: str, count: int) -> None:
        room = self._rooms.setdefault(name, _Room())
        was = user in room.here
        nodes = room.here.setdefault(user, {})
        if count:
            nodes[node] = count
        else:
            nodes.pop(node, None)
        if not nodes:
            del room.here[user]
        if (user in room.here) != was:
            room.before.setdefault(user, was)
            self._schedule(name)
            self.on_change(name, user, not was, node)
        if not room.here and not room.before:
            del self._rooms[name]

    def _schedule(self, name: str) -> None:
        if not self._changed:
            self._clock.callLater(COALESCE, self._tell)
        self._changed.add(name)

    def _tell(self) -> None:
        changed, self._changed = self._changed, set()
        for name in changed:
            room = self._rooms[name]
            # one who went and came back is news only to whoever was shown that it had gone
            news = [
                u for u, was in room.before.items() if (u in room.here) != was or u in room.shown
            ]
            room.before.clear()
            room.shown.clear()
            count = len(room.here)
            if news and self._audience is not None:
                many = count > self.limit
                joined = [] if many else sorted(u for u in news if u in room.here)
                left = [] if many else sorted(u for u in news if u not in room.here)
                self._audience.show(name, joined, left, count)
            if not room.here:
                del self._rooms[name]


_NOBODY = _Room()
