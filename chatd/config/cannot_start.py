"""Ends a failed start with one line on standard error and exit status 1."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from chatd.errors import StartError


class CannotStart(SystemExit, Exception):
    """Ends the process with one line and status 1.

    It is a SystemExit and an Exception, so that twistd, which catches Exception, cleans up and
    tells the process that started the daemon. It writes the line itself, because by then twistd has
    made ``sys.stderr`` a part of the log.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = 1
        print(text, file=sys.__stderr__)


@contextmanager
def refusing() -> Iterator[None]:
    """Turn errors that the operator has to correct into `CannotStart`."""
    try:
        yield
    except (StartError, OSError) as e:
        raise CannotStart(f"chatd: {e}") from None
