"""Which route a path leads to, found in as many steps as the path has segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from attrs import define, field

T = TypeVar("T")


@define(eq=False)
class PathTree(Generic[T]):
    """Values by path. A segment of a pattern is literal, or ``{name}`` and stands for any."""

    _literal: dict[str, PathTree[T]] = field(factory=dict, init=False)
    _any: PathTree[T] | None = field(default=None, init=False)
    _value: T | None = field(default=None, init=False)

    def add(self, pattern: str, value: T) -> None:
        """Have the paths that ``pattern`` describes lead to ``value``."""
        node = self
        for segment in pattern[1:].split("/"):
            if segment.startswith("{"):
                node._any = node._any or PathTree()
                node = node._any
            else:
                node = node._literal.setdefault(segment, PathTree())
        node._value = value

    def find(self, segments: Sequence[str]) -> tuple[T, list[str]] | None:
        """The value that a path of these segments leads to, and the segments that stand for names;
        what is literal wins. None if there is nothing."""
        if not segments:
            return None if self._value is None else (self._value, [])
        first, rest = segments[0], segments[1:]
        literal = self._literal.get(first)
        found = literal.find(rest) if literal is not None else None
        if found is None and self._any is not None:
            found = self._any.find(rest)
            if found is not None:
                return found[0], [first, *found[1]]
        return found
