"""Presence of named pollers, who have no lasting connection: for a while after each poll."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from chatd.access.identity import Identity
from chatd.access.limits import Connections
from chatd.access.rights import may_enter
from chatd.directory.projection import ChangeKind, DirectoryChange
from chatd.service.chat import Chat
from chatd.timing.timer_wheel import Deadline, TimerWheel
from chatd.timing.turn_queue import in_turns

#: Seconds that a poller is present after a poll.
PRESENT = 90.0


@define(eq=False)
class _Poller:
    identity: Identity
    expiry: Deadline
    release: Callable[[], None]


@define(eq=False)
class Pollers:
    """The present pollers of one node, by room and user. In open mode anyone can invent names, so
    ``leases`` bounds their number, in all and per address."""

    chat: Chat
    deadlines: TimerWheel
    leases: Connections
    _rooms: dict[str, dict[str, _Poller]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.chat.directory.watchers.add(self)

    def __len__(self) -> int:
        return self.leases.total

    def seen(self, identity: Identity, name: str, address: str) -> None:
        """A named poller polls the room ``name``: it is present for `PRESENT` seconds from now.
        Raises `ChatError` if it may not enter the room, or there are too many pollers.
        """
        self.chat.entry(identity, name)
        poller = self._rooms.get(name, {}).get(identity.user)
        if poller is None:
            self._come(identity, name, address)
        else:
            poller.identity = identity
            poller.expiry.move(self.deadlines.clock.seconds() + PRESENT)

    def _come(self, identity: Identity, name: str, address: str) -> None:
        user = identity.user
        release = self.leases.admit(address)
        expiry = self.deadlines.after(PRESENT, lambda: self._go(name, user))
        self._rooms.setdefault(name, {})[user] = _Poller(identity, expiry, release)
        self.chat.presence.enter(name, user)

    def _go(self, name: str, user: str) -> None:
        self._left(name, user, self._taken(name, user))

    def _taken(self, name: str, user: str) -> _Poller:
        """Take a poller out of its room."""
        poller = self._rooms[name].pop(user)
        if not self._rooms[name]:
            del self._rooms[name]
        poller.expiry.cancel()
        return poller

    def _left(self, name: str, user: str, poller: _Poller) -> None:
        poller.release()
        self.chat.presence.leave(name, user)

    def directory_changed(self, change: DirectoryChange) -> None:
        """Pollers leave a room that was deleted, or that they may not enter any more; see
        `chatd.directory.watchers.Watcher`."""
        if change.what not in (ChangeKind.DELETED, ChangeKind.RESTRICTED):
            return
        name = change.entry.name
        present = self._rooms.get(name, {})
        concerned = present if change.user is None else present.keys() & {change.user}
        all_go = change.what is ChangeKind.DELETED
        going = [u for u in concerned if all_go or not may_enter(present[u].identity, change.entry)]
        gone = [(user, self._taken(name, user)) for user in going]
        in_turns(self.chat.clock, gone, lambda one: self._left(name, *one))
