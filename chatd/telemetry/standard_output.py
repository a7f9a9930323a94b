"""What standard output cannot show."""

from __future__ import annotations

import io
import sys
from contextlib import suppress


def show_what_cannot_be_written() -> None:
    """What standard output has no character for is shown as an escape, and ends nothing: the
    encoding is the terminal's, or ASCII where a service has no locale, and what is written comes
    from settings and from others."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(OSError):  # it became something else after Python opened it
            sys.stdout.reconfigure(errors="backslashreplace")
