"""Work in lines: each line in order, different lines side by side.

Those that wait begin in a loop, and not each inside the call that ends the one before: see
`chatd.timing.slots`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from contextvars import copy_context
from itertools import takewhile
from typing import Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")


@define(eq=False)
class Piece(Generic[V]):
    """A piece of work, which ``begin`` begins.

    ``lane`` returns what it would go over now: pieces that go over the same end in the order in
    which they were begun, or fail. It returns None if there is no such thing; with True it may have
    it made ready, because more than one piece is to be under way. ``overtaken`` is called when a
    later piece of its line has succeeded before this one, which is to fail then.
    """

    begin: Callable[[], Deferred[V]]
    lane: Callable[[bool], object | None]
    overtaken: Callable[[], object]


@define(eq=False)
class _Line(Generic[V]):
    """The pieces under way, in order, and the lane of all of them; those that wait, each with
    what lets it begin."""

    lane: object | None = None
    under_way: dict[Piece[V], None] = field(factory=dict, init=False)
    waiting: deque[tuple[Piece[V], Deferred[None]]] = field(factory=deque, init=False)
    letting_in: bool = field(default=False, init=False)

    def may_begin(self, piece: Piece[V]) -> bool:
        """Whether ``piece`` cannot overtake what is under way."""
        if not self.under_way:
            self.lane = piece.lane(False)
            return True
        lane = piece.lane(True)
        return lane is not None and lane is self.lane


class Lines(Generic[K, V]):
    """Lines by key. Of a line several pieces are under way as long as they go over one lane, else
    one. ``waiting`` is the number of pieces that wait, in all lines."""

    def __init__(self) -> None:
        self._lines: dict[K, _Line[V]] = {}
        self.waiting = 0

    def run(self, key: K, piece: Piece[V]) -> Deferred[V]:
        """The outcome of ``piece``, which begins, in the context of this call, when it cannot
        overtake what was run before with ``key``. Cancelled before that, it does not begin."""
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
        if not line.waiting and line.may_begin(piece):
            return self._begin(key, line, piece, piece.begin)
        turn: Deferred[None] = Deferred(lambda turn: line.waiting.remove((piece, turn)))
        line.waiting.append((piece, turn))
        self.waiting += 1
        begin = copy_context().run
        left: Deferred[None] = turn.addBoth(self._left)
        return left.addCallback(lambda _: self._begin(key, line, piece, lambda: begin(piece.begin)))

    def _left(self, result: T) -> T:
        self.waiting -= 1
        return result

    def _begin(
        self, key: K, line: _Line[V], piece: Piece[V], begin: Callable[[], Deferred[V]]
    ) -> Deferred[V]:
        line.under_way[piece] = None
        return maybeDeferred(begin).addBoth(self._ended, key, line, piece)

    def _ended(self, result: T, key: K, line: _Line[V], piece: Piece[V]) -> T:
        before: list[Piece[V]] = []
        if next(iter(line.under_way)) is not piece and not isinstance(result, Failure):
            before += takewhile(lambda one: one is not piece, line.under_way)
        del line.under_way[piece]
        for one in before:
            one.overtaken()
        if line.waiting:
            self._let_in(line)
        if not line.under_way and not line.waiting and self._lines.get(key) is line:
            del self._lines[key]
        return result

    def _let_in(self, line: _Line[V]) -> None:
        """Begin those that may."""
        if line.letting_in:
            return  # the loop in which this one began goes on
        line.letting_in = True
        while line.waiting and line.may_begin(line.waiting[0][0]):
            line.waiting.popleft()[1].callback(None)
        line.letting_in = False
