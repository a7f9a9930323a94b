"""Presence: which users are in which room, on all nodes.

A user is present in a room while any of the user's connections, on any node, takes part in it. Each
node knows its own users, and those that other nodes have told it of (`chatd.presence.replication`).
Changes are coalesced over a second, so a thousand users who reconnect at once cost each member one
frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from chatd.timing.turn_queue import in_turns

#: In a room with more members than this only their number is told.
PRESENCE_LIMIT = 200
#: Seconds over which changes are coalesced.
COALESCE = 1.0
#: Names that clients of one room may have been told above the presence limit, before they are told
#: which of them have left.
SHOWN = 1000


class Listed(Protocol):
    """What clients' lists of members are like; see `News`."""

    @property
    def sure(self) -> frozenset[str]:
        """Names in every list."""

    @property
    def before(self) -> frozenset[str]:
        """Names in some list."""


@frozen
class News:
    """Who joined and left a room, as its members are told.

    Before the news every client's list of members has the names ``sure``, and perhaps others of
    ``before``. Afterwards it has the names ``after``; if not ``complete``, some of them.
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
        """The news that leads every client to ``after``."""
        joined = sorted(after - sure) if complete else []
        return cls(joined, sorted(before - after), count, sure, before, after, complete)

    def since(self, first: Listed) -> News:
        """This and all earlier news, for clients whose lists were like ``first`` before them."""
        return self.of(self.count, first.sure, first.before, self.after, self.complete)

    def frame(self, room: str) -> dict[str, Any]:
        """The ``presence`` frame (protocol, "WebSocket")."""
        return {
            "type": "presence",
            "room": room,
            "joined": self.joined,
            "left": self.left,
            "count": self.count,
        }


class PresenceAudience(Protocol):
    """Shows presence to the members of a room."""

    def show(self, room: str, news: News) -> None:
        """Members of ``room`` have changed."""

    def show_typing(self, room: str, user: str) -> None:
        """``user`` is typing on another node."""


@frozen
class Members:
    """The members of a room: names up to the presence limit, and the number of all."""

    names: list[str]
    count: int


_NONE: frozenset[str] = frozenset()


@define(eq=False)
class _Room:
    """The members of one room, and what its clients have been told."""

    #: Number of connections by user and node, the longest present user first.
    here: dict[str, dict[str, int]] = field(factory=dict)
    #: Names in every client's list, and names in some client's list.
    held_by_all: frozenset[str] = _NONE
    held_by_some: frozenset[str] = _NONE
    #: The number that all clients were told last; -1 if they were told different ones.
    count: int = 0


class PresenceBoard:
    """Presence as the node called ``node`` knows it. ``limit`` is the presence limit, in members of
    a room."""

    def __init__(self, clock: IReactorTime, node: str, limit: int = PRESENCE_LIMIT) -> None:
        self.node = node
        self.limit = limit
        #: Called with room, user and whether present, when a user of this node comes or goes.
        self.on_local: Callable[[str, str, bool], None] = lambda room, user, here: None
        #: Called with room, user, whether present, and the node where it happened, when a user
        #: comes to, or goes from, all nodes taken together.
        self.on_change: Callable[[str, str, bool, str], None] = lambda room, user, here, node: None
        #: Called with room and user when a user of this node is typing.
        self.on_typing: Callable[[str, str], None] = lambda room, user: None
        self._clock = clock
        self._audience: PresenceAudience | None = None
        self._rooms: dict[str, _Room] = {}
        #: Rooms with news that wait to be told together with more, and those whose turn it is.
        self._changed: dict[str, None] = {}
        self._due: dict[str, None] = {}

    def show_to(self, audience: PresenceAudience) -> None:
        """Call ``audience`` for changes from now on."""
        self._audience = audience

    # -- users of this node ------------------------------------------------------------------------

    def enter(self, room: str, user: str) -> None:
        """Count one more connection of ``user`` in ``room``."""
        count = self._rooms.get(room, _NOBODY).here.get(user, {}).get(self.node, 0)
        self._set(room, user, self.node, count + 1)
        if count == 0:
            self.on_local(room, user, True)

    def leave(self, room: str, user: str) -> None:
        """Count one connection fewer."""
        count = self._rooms.get(room, _NOBODY).here.get(user, {}).get(self.node, 0)
        if count:
            self._set(room, user, self.node, count - 1)
        if count == 1:
            self.on_local(room, user, False)

    def typing(self, room: str, user: str) -> None:
        """``user`` is typing, on this node."""
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
        """``user`` came to ``room`` on another node, or left it there."""
        self._set(room, user, node, 1 if here else 0)

    def remote_typing(self, room: str, user: str) -> None:
        """``user`` is typing on another node."""
        if self._audience is not None:
            self._audience.show_typing(room, user)

    def replace(self, node: str, rooms: Mapping[str, Iterable[str]]) -> set[tuple[str, str]]:
        """Take ``rooms`` (users by room) for all the users of ``node``. Returns room and user of
        those who are not on it any more."""
        told = {(room, user) for room, users in rooms.items() for user in users}
        gone = self._of(node) - told
        for room, user in gone:
            self._set(room, user, node, 0)
        for room, user in told:
            self._set(room, user, node, 1)
        return gone

    def drop(self, node: str) -> set[tuple[str, str]]:
        """Forget a node, and its users, whom it returns as `replace` does."""
        return self.replace(node, {})

    def _of(self, node: str) -> set[tuple[str, str]]:
        return {
            (name, user)
            for name, room in self._rooms.items()
            for user, nodes in room.here.items()
            if node in nodes
        }

    # -- the board ---------------------------------------------------------------------------------

    def count(self, room: str) -> int:
        """The number of users in ``room``."""
        return len(self._rooms.get(room, _NOBODY).here)

    @property
    def total(self) -> int:
        """The number of users in all rooms, in each room of theirs."""
        return sum(len(room.here) for room in self._rooms.values())

    def here(self, room: str, user: str) -> bool:
        """Whether ``user`` is in ``room``."""
        return user in self._rooms.get(room, _NOBODY).here

    def nodes(self, room: str, user: str) -> list[str]:
        """The names of the nodes on which ``user`` is in ``room``, sorted."""
        return sorted(self._rooms.get(room, _NOBODY).here.get(user, {}))

    def members(self, room: str) -> Members:
        """The members of ``room``, for a client that will be told of changes from now on."""
        board = self._rooms.get(room)
        if board is None:
            return Members([], 0)
        count = len(board.here)
        names = list(islice(board.here, self.limit))
        if count > self.limit and len(board.held_by_some) >= SHOWN:
            names = [u for u in names if u in board.held_by_some]
        if self._is_changed(room) or count > self.limit:
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
        if not room.here and not self._is_changed(name):
            del self._rooms[name]

    def _is_changed(self, name: str) -> bool:
        """Whether there is news of a room that clients have not been told."""
        return name in self._changed or name in self._due

    def _schedule(self, name: str) -> None:
        if self._is_changed(name):
            return
        if not self._changed:
            self._clock.callLater(COALESCE, self._tell)
        self._changed[name] = None

    def _tell(self) -> None:
        """Tell the news of all rooms, of some in each turn of the reactor."""
        changed, self._changed = self._changed, {}
        self._due |= changed
        in_turns(self._clock, list(changed), self._tell_of)

    def _tell_of(self, name: str) -> None:
        del self._due[name]
        room = self._rooms[name]
        news = self._news(room)
        if self._audience is not None and (news.joined or news.left or news.count != room.count):
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
            # users who stayed since they were shown are still among the first
            kept = held.intersection(islice(room.here, self.limit))
        return News.of(count, sure, held, kept, complete=False)


_NOBODY = _Room()
