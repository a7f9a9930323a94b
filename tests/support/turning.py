"""A clock that has turns, as a reactor has."""

from __future__ import annotations

from twisted.internet.task import Clock


class Reactor(Clock):
    """A clock with turns: what is to be called at once in one is called in the next."""

    def advance(self, amount: float) -> None:
        self.rightNow += amount
        due = [call for call in self.calls if call.getTime() <= self.seconds()]
        for call in due:
            self.calls.remove(call)
        for call in due:
            call.called = 1
            call.func(*call.args, **call.kw)
