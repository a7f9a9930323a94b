"""A target: something that is fed bytes, and what may come of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from attrs import field, frozen
from twisted.logger import LogLevel, globalLogPublisher

#: Seconds of CPU that one input may take. The slowest take some milliseconds.
BOUND = 1.0


class Escaped(AssertionError):
    """An input did what none may."""


@frozen
class Target:
    """``feed`` takes any bytes, and raises nothing but ``declared``. ``seeds`` are inputs as they
    should be, from which others are made; ``words`` what inputs are made of."""

    feed: Callable[[bytes], Any]
    declared: tuple[type[Exception], ...]
    seeds: Sequence[bytes]
    words: Sequence[bytes] = field(default=())

    def run(self, data: bytes) -> None:
        """Feed ``data``. Raises `Escaped` for an undeclared error, one in the log, or slowness."""
        logged: list[Any] = []

        def observe(event: Any) -> None:
            if event.get("log_level") is LogLevel.critical:
                logged.append(event)

        observer: Any = observe
        globalLogPublisher.addObserver(observer)
        began = time.process_time()
        try:
            self.feed(data)
        except self.declared:
            pass
        except Exception as e:
            raise Escaped(f"{type(e).__name__} for {data!r:.500}") from e
        finally:
            globalLogPublisher.removeObserver(observer)
        took = time.process_time() - began
        if logged:
            raise Escaped(f"logged {logged[0].get('log_failure') or logged[0]} for {data!r:.500}")
        if took > BOUND:
            raise Escaped(f"{took:.1f} s for {data!r:.500}")


def mutated(target: Target, chance: Random) -> bytes:
    """One of the target's seeds, damaged."""
    data = bytearray(chance.choice(target.seeds))
    for _ in range(chance.randint(1, 4)):
        place = chance.randint(0, len(data))
        match chance.randrange(6):
            case 0:
                data[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[place : place + chance.randint(1, 8)]
            case 2:
                data[place:place] = bytes([chance.randrange(256)]) * chance.choice((1, 2, 300))
            case 3:
                data[place:place] = data[place : place + chance.randint(1, 40)]
            case 4:
                data[place:place] = chance.choice(target.words or target.seeds)
            case 5:
                other = chance.choice(target.seeds)
                data[place:] = other[chance.randint(0, len(other)) :]
    return bytes(data)
