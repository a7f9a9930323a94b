"""Named pollers: present for a while after each poll, for want of a connection to be present by."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from chatd.access.identity import Identity
from chatd.access.limits import Connections
from chatd.access.rights import may_enter
from chatd.directory.projection import ChangeKind, DirectoryChange
from chatd.service.chat import Chat
from chatd.timing.timer_wheel import Deadline, TimerWheel

#: Seconds that a poller counts as present after its poll.
PRESENT = 90.0


@define(eq=False)
class _Poller:
    identity: Identity
    expiry: Deadline
    release: Callable[[], None]


@define(eq=False)
class Pollers:
    """The pollers of one node by room and user. In open mode a name costs nothing to invent, so
    ``leases`` bounds them, in all and per address, for as long as they count as present."""

    chat: Chat
    deadlines: TimerWheel
    leases: Connections
    _rooms: dict[str, dict[str, _Poller]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.chat.directory.watchers.add(self)

    def __len__(self) -> int:
        return self.leases.total

    def seen(self, identity: Identity, name: str, address: str) -> None:
        """A named poller shows itself in room ``name``: it is present from now on, for `PRESENT`.

        `ChatError` if it may not be there, and unavailable for a poller too many.
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
        poller = self._rooms[name].pop(user)
        if not self._rooms[name]:
            del self._rooms[name]
        poller.expiry.cancel()
        poller.release()
        self.chat.presence.leave(name, user)

    def directory_changed(self, change: DirectoryChange) -> None:
        """Nobody is present in a room that is gone, or that is no longer theirs; see
        `chatd.directory.watchers.Watcher`."""
        if change.what not in (ChangeKind.DELETED, ChangeKind.RESTRICTED):
            return
        name = change.entry.name
        for user, poller in list(self._rooms.get(name, {}).items()):
            if change.what is ChangeKind.DELETED or not may_enter(poller.identity, change.entry):
                self._go(name, user)
