"""A follower that notes what it is told, and the records it is told of."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from zope.interface import implementer

from chatd.brokers.interfaces import (
    IFollower,
    IFollowing,
    Record,
)
from chatd.protocol.messages import Content


def now() -> int:
    """Milliseconds since the epoch."""
    return int(time.time() * 1000)


def body(id: str, text: str = "hello", at: int | None = None) -> bytes:
    """The body of a room's record."""
    return Content("ann", id, text).record(now() if at is None else at)


def ids(records: Sequence[Record]) -> list[str]:
    """The ids in the bodies of ``records``."""
    return [str(json.loads(record.body)["id"]) for record in records]


def named(*numbers: int) -> list[str]:
    """The ids that `BrokerSuite.fill` gives."""
    return [f"m{number}" for number in numbers]


@implementer(IFollower)
class Recorder:
    """Notes every call in ``calls``, and checks what holds for all followers."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.got: list[Record] = []
        self._ids: list[str] = []
        self.ends: list[int] = []
        self.may_call = False
        self.following: IFollowing | None = None
        self.stop_in: str | None = None

    @property
    def ids(self) -> list[str]:
        self._ids += ids(self.got[len(self._ids) :])  # who waits for one asks again and again
        return list(self._ids)

    def records(self, batch: Sequence[Record]) -> None:
        assert batch, "an empty batch"
        self._note("records")
        for record in batch:
            assert not self.got or record.offset > self.got[-1].offset, "offsets must ascend"
            self.got.append(record)

    def caught_up(self, end: int) -> None:
        self._note("caught_up")
        self.ends.append(end)

    def interrupted(self) -> None:
        self._note("interrupted")

    def truncated(self) -> None:
        self._note("truncated")

    def gone(self) -> None:
        self._note("gone")

    def _note(self, call: str) -> None:
        assert self.may_call, f"{call} before follow had returned"
        assert "gone" not in self.calls, f"{call} after gone"
        self.calls.append(call)
        if call == self.stop_in:
            assert self.following is not None
            self.following.stop()
            self.may_call = False
