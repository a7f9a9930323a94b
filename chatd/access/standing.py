"""What is held open in somebody's name, and ends when the name is no longer proved: the token has
run out, or its key is gone."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from chatd.access.identity import Identity
from chatd.access.rights import EXPIRED, Rights
from chatd.protocol.errors import ChatError
from chatd.timing.timer_wheel import TimerWheel
from chatd.timing.wall import Alarm

#: How many are ended in one turn of the reactor when a key is withdrawn.
AT_ONCE = 200


@define(eq=False)
class Held:
    """Something that ends with its ``identity``'s proof; `release` it when it ends otherwise."""

    identity: Identity
    _end: Callable[[ChatError], None]
    _release: Callable[[Held], None]
    expiry: Alarm | None = field(default=None, init=False)

    def release(self) -> None:
        """Nothing has to be ended any more; twice is once."""
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None
        self._release(self)

    def end(self, why: ChatError) -> None:
        """Release it, and let its holder end it."""
        self.release()
        self._end(why)


@define(eq=False)
class Standing:
    """All that is held in the name of a token."""

    rights: Rights
    clock: IReactorTime
    deadlines: TimerWheel
    _held: dict[Held, None] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, identity: Identity, end: Callable[[ChatError], None]) -> Held:
        """Have ``end`` called, with why, once ``identity`` is not proved any more."""
        held = Held(identity, end, self._forget)
        if identity.expires is not None:
            self._held[held] = None
            wall = self.rights.wall
            held.expiry = Alarm(identity.expires, lambda: held.end(EXPIRED), wall, self.deadlines)
            # its key may have gone while it was on its way here
            self.clock.callLater(0, self._check, held)
        return held

    def recheck(self) -> None:
        """The keys have changed: end what they no longer verify."""
        self._recheck(list(self._held))

    def _recheck(self, left: list[Held]) -> None:
        now, later = left[:AT_ONCE], left[AT_ONCE:]
        for held in now:
            self._check(held)
        if later:
            self.clock.callLater(0, self._recheck, later)

    def _check(self, held: Held) -> None:
        if held in self._held and (why := self.rights.withdrawn(held.identity)) is not None:
            held.end(why)

    def _forget(self, held: Held) -> None:
        self._held.pop(held, None)
