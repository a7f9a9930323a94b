"""Waiting for a condition, with a bound: what tests use where others would sleep; and for several
things at once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")

#: Seconds between two looks at the condition: a share of the time waited so far, so that what comes
#: soon is seen soon, and what takes long does not cost the processor that it is waiting for.
_SHORTEST, _LONGEST, _SHARE = 0.002, 0.05, 0.05
#: Turns of the reactor after which what was sent within this process has come: in one of them it is
#: accepted, in one written, in one read, and one is for what follows. On a busy machine the time
#: of a short pause is over before the first.
_TURNS = 4


async def until(condition: Callable[[], object], timeout: float = 60.0) -> None:
    """Return once ``condition()`` is true; AssertionError after ``timeout`` seconds."""
    clock = IReactorTime(reactor)
    began = clock.seconds()
    while not condition():
        waited = clock.seconds() - began
        if waited > timeout:
            raise AssertionError(f"not within {timeout} s: {_said(condition)}")
        await _wait(min(max(_SHORTEST, waited * _SHARE), _LONGEST))


async def until_of(subject: T, condition: Callable[[T], object], timeout: float = 60.0) -> None:
    """As `until`, for ``condition(subject)``; for loops, whose variables a lambda must not use."""
    await until(lambda: condition(subject), timeout)


async def pause(seconds: float = 0.0) -> None:
    """Let the reactor turn once; or for some seconds, and `_TURNS` times at least."""
    await _wait(seconds)
    for _ in range(_TURNS if seconds else 0):
        await _wait(0)


async def _wait(seconds: float) -> None:
    turned: Deferred[None] = Deferred()
    IReactorTime(reactor).callLater(seconds, turned.callback, None)
    await turned


def together(*work: Coroutine[Any, Any, Any]) -> Deferred[list[Any]]:
    """Do all of ``work`` at the same time; the results in order."""
    doing = [Deferred.fromCoroutine(one) for one in work]
    return gatherResults(doing, consumeErrors=True)


def _said(condition: Callable[[], object]) -> str:
    code = getattr(condition, "__code__", None)
    if code is None:
        return repr(condition)
    return f"{code.co_name} at {code.co_filename}:{code.co_firstlineno}"
