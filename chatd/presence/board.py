"""Who is here now, on all nodes.

A user is present in a room while any of its connections, on any node, takes part in it. Each node
holds its own users, and what the others told of theirs (`chatd.presence.replication`). Comings
and goings are told about once a second, so a thousand who reconnect at once cost each member one
frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

#: Above this many members only their number is told.
PRESENCE_LIMIT = 200
#: Seconds over which comings and goings are gathered.
COALESCE = 1.0


#: Names that members of one room may hold above the presence limit, before those of them that have
#: gone are told.
SHOWN = 1000


@frozen
class News:
    """Comings and goings in a room, as its members are told of them.

    Before it, every member held the names ``sure``, and some of ``before``; who applies it holds
    ``after``, or some of it if ``complete`` is false: then not all are named.
    """

    joined: list[str]
    left: list[str]
    count: int
    sure: frozenset[str]
    before: frozenset[str]
    after: frozenset[str]
    complete: bool

    @classmethod
    def of(
        cls,
        count: int,
        sure: frozenset[str],
        before: frozenset[str],
        after: frozenset[str],
        complete: bool,
    ) -> News:
        """What makes all hold ``after``."""
        joined = sorted(after - sure) if complete else []
        return cls(joined, sorted(before - after), count, sure, before, after, complete)

    def since(self, first: News) -> News:
        """This and all that came before it, for one who has missed it from ``first`` on."""
        return self.of(self.count, first.sure, first.before, self.after, self.complete)

    def frame(self, room: str) -> dict[str, Any]:
        """What is sent (protocol, section 3)."""
        return {
            "type": "presence",
            "room": room,
            "joined": self.joined,
            "left": self.left,
            "count": self.count,
        }


class PresenceAudience(Protocol):
    """Shows comings and goings to those who are in a room."""

    def show(self, room: str, news: News) -> None:
        """Above the presence limit only the number is news."""

    def show_typing(self, room: str, user: str) -> None:
        """``user`` is typing, on another node."""


@frozen
class Members:
    """Who is in a room: names up to the presence limit, and how many in all."""

    names: list[str]
    count: int


_NONE: frozenset[str] = frozenset()


@define(eq=False)
class _Room:
    #: Connections by user and node, the longest here first; a user is present while it has any.
    here: dict[str, dict[str, int]] = field(factory=dict)
    #: Names that every member holds, and names that some may hold, by what they were shown.
    held_by_all: frozenset[str] = _NONE
    held_by_some: frozenset[str] = _NONE
    #: The number that all were told; -1 if not the same.
    count: int = 0


class PresenceBoard:
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
        self._audience: PresenceAudience | None = None
        self._rooms: dict[str, _Room] = {}
        self._changed: set[str] = set()

    def show_to(self, audience: PresenceAudience) -> None:
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

    def count(self, room: str) -> int:
        """How many are in ``room``."""
        return len(self._rooms.get(room, _NOBODY).here)

    def here(self, room: str, user: str) -> bool:
        """Whether ``user`` is in ``room``."""
        return user in self._rooms.get(room, _NOBODY).here

    def members(self, room: str) -> Members:
        """Who is in ``room``, for one who will be told of changes from now on."""
        board = self._rooms.get(room)
        if board is None:
            return Members([], 0)
        count = len(board.here)
        names = list(islice(board.here, self.limit))
        if count > self.limit and len(board.held_by_some) >= SHOWN:
            names = [u for u in names if u in board.held_by_some]
        if room in self._changed or count > self.limit:
            board.held_by_all &= frozenset(names)
            if not board.held_by_some.issuperset(names):
                board.held_by_some |= frozenset(names)
            if count != board.count:
                board.count = -1
        return Members(sorted(names), count)

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
            self._schedule(name)
            self.on_change(name, user, not was, node)
        if not room.here and name not in self._changed:
            del self._rooms[name]

    def _schedule(self, name: str) -> None:
        if not self._changed:
            self._clock.callLater(COALESCE, self._tell)
        self._changed.add(name)

    def _tell(self) -> None:
        changed, self._changed = self._changed, set()
        for name in changed:
            room = self._rooms[name]
            news = self._news(room)
            if self._audience is not None and (
                news.joined or news.left or news.count != room.count
            ):
                self._audience.show(name, news)
            room.held_by_some = news.after
            room.held_by_all = news.after if news.complete else _NONE
            room.count = news.count
            if not room.here:
                del self._rooms[name]

    def _news(self, room: _Room) -> News:
        sure, held, count = room.held_by_all, room.held_by_some, len(room.here)
        if count <= self.limit:
            return News.of(count, sure, held, frozenset(room.here), complete=True)
        kept = held
        if len(held) >= SHOWN:
            # who stayed since it was shown is still among the first
            kept = held.intersection(islice(room.here, self.limit))
        return News.of(count, sure, held, kept, complete=False)


_NOBODY = _Room()
