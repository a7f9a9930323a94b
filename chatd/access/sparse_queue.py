"""A queue in which those who ask seldom go first: the sparse flows of RFC 8290."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from attrs import define, field

T = TypeVar("T")


@define(eq=False)
class SparseQueue(Generic[T]):
    """Two queues in one: those that ask seldom go first, but at most every other time, so that
    nobody waits for ever."""

    #: How many wait.
    number: int = field(default=0, init=False)
    _seldom: deque[T] = field(factory=deque, init=False)
    _often: deque[T] = field(factory=deque, init=False)
    _was_seldom: bool = field(default=False, init=False)

    def __iter__(self) -> Iterator[T]:
        yield from self._seldom
        yield from self._often

    def join(self, one: T, seldom: bool) -> None:
        """Wait for one turn; ``seldom``: it asks seldom."""
        (self._seldom if seldom else self._often).append(one)
        self.number += 1

    def next(self) -> T:
        """Remove and return whose turn it is. IndexError if nobody waits."""
        self._was_seldom = bool(self._seldom) and not (self._was_seldom and self._often)
        one = (self._seldom if self._was_seldom else self._often).popleft()
        self.number -= 1
        return one
