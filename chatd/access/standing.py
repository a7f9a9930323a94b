"""Connections, event streams and polls that a token lets be open. They end when the token expires,
or its key is replaced by one that does not verify it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from chatd.access.identity import Identity
from chatd.access.rights import EXPIRED, Rights, no_longer_valid
from chatd.protocol.errors import ChatError
from chatd.timing.timer_wheel import TimerWheel
from chatd.timing.turn_queue import in_turns
from chatd.timing.wall import Alarm


@define(eq=False)
class Held:
    """Something open that is ended when ``identity`` is no longer valid. Call `release` if it ends
    before that."""

    identity: Identity
    _end: Callable[[ChatError], None]
    _release: Callable[[Held], None]
    expiry: Alarm | None = field(default=None, init=False)

    def release(self) -> None:
        """It has ended by itself. Calling this twice does no harm."""
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None
        self._release(self)

    def check(self) -> bool:
        """Whether the token has not expired; else it is ended now. The alarm comes later where this
        process stood still, or the clock was set."""
        if self.expiry is None or not self.expiry.due:
            return True
        self.expire()
        return False

    def expire(self) -> None:
        """The token has expired."""
        self.end(no_longer_valid(EXPIRED))

    def end(self, why: ChatError) -> None:
        """Tell its owner to end it, for the reason ``why``."""
        self.release()
        self._end(why)


@define(eq=False)
class Standing:
    """All that tokens let be open on this node. Its length is how many there are."""

    rights: Rights
    clock: IReactorTime
    deadlines: TimerWheel
    _held: dict[Held, None] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, identity: Identity, end: Callable[[ChatError], None]) -> Held:
        """Have ``end`` called, with the reason, as soon as ``identity`` is no longer valid."""
        held = Held(identity, end, self._forget)
        if identity.expires is not None:
            self._held[held] = None
            held.expiry = Alarm(identity.expires, held.expire, self.rights.wall, self.deadlines)
            # its key may have gone while it was on its way here
            self.clock.callLater(0, self._check, held)
        return held

    def look(self) -> None:
        """This process has stood still: end what has expired meanwhile, before what was said after
        that is read."""
        in_turns(self.clock, list(self._held), Held.check)

    def recheck(self) -> None:
        """The keys have changed: end what they do not verify."""
        in_turns(self.clock, list(self._held), self._check)

    def _check(self, held: Held) -> None:
        if held in self._held and (why := self.rights.withdrawn(held.identity)) is not None:
            held.end(why)

    def _forget(self, held: Held) -> None:
        self._held.pop(held, None)
