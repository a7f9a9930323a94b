"""One room on the nodes of a `World`."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from chatd.protocol.cursors import Cursor
from chatd.rooms.start_position import After
from tests.support.world import Reader, World


class RoomCase(TestCase):
    """Tests of the lobby; `make` begins anew, with other nodes or brokers."""

    def setUp(self) -> None:
        self.make()

    def make(self, **more: Any) -> None:
        self.world = World(**more)

    def after(self, offset: int) -> After:
        return After(Cursor(self.world.stream().epoch, offset))

    def join(self, user: str = "bob", offset: int | None = None, **more: Any) -> Reader:
        start = None if offset is None else self.after(offset)
        return self.world.join("lobby", user, start, **more)

    def resumed(self, offset: int = -1, node: int = 0) -> list[str]:
        return self.join("late", offset, node=node).texts


def never() -> Deferred[Any]:
    """An answer of the broker that does not come by itself."""
    return Deferred()
