"""What standard output cannot show, or take, and that there is none."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

#: Its descriptor.
STDOUT = 1


def open_missing() -> None:
    """Open the null device for each of standard input, output and error that the process was
    started without: libraries use them unasked, and a file that is opened next would have the
    descriptor of one of them."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            file = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(file, mode, encoding="utf-8"))


def show_what_cannot_be_written() -> None:
    """What standard output has no character for is shown as an escape, and ends nothing: the
    encoding is the terminal's, or ASCII where a service has no locale, and what is written comes
    from settings and from others."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(OSError):  # it became something else after Python opened it
            sys.stdout.reconfigure(errors="backslashreplace")


def print_all(text: str, output: TextIO | None = None) -> bool:
    """Print all of ``text`` to ``output``, by default standard output; nowhere if there is none.
    Returns whether that was possible. Standard error says why it was not, but for a reader that has
    closed its end of the pipe, as ``head`` does."""
    try:
        print(text, file=output, flush=True)
    except OSError as e:
        give_up()
        if not isinstance(e, BrokenPipeError):
            why = e.strerror or str(e)
            print(f"chatd: cannot write to standard output: {why}", file=sys.stderr)
        return False
    return True


def give_up() -> None:
    """Let go of what is left of the output: it would fail once more when Python ends."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, STDOUT)
    os.close(nothing)
