"""What chatd has twistd do where the operator has not said otherwise."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.python import usage

from chatd.telemetry.log import FORMATS, Log, Output

#: twistd's own default for ``--pidfile``.
PIDFILE = "twistd.pid"


def settle(twistd: MutableMapping[str, Any], check: bool = False) -> None:
    """Complete twistd's own options, once they are parsed and before it acts on them.

    Whoever starts a process in the foreground knows its id; a file would only be in the way of the
    next start, when the process was killed and its id is given again, as in a container, where it
    is always 1. Nobody else reads what is logged. A ``check`` may be made beside a chatd that runs.
    """
    if check or (twistd.get("nodaemon") and twistd.get("pidfile") == PIDFILE):
        twistd["pidfile"] = ""
    elif twistd.get("pidfile"):
        _remove_own(twistd["pidfile"])
    if twistd.get("umask") is None:
        os.umask(0o077)


def take_log(twistd: MutableMapping[str, Any], format: str) -> Log | None:
    """What twistd shall log by, to where it would have logged; None where the operator chose an
    observer, or syslog."""
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    path = twistd.get("logfile") or ("" if twistd.get("nodaemon") else "twistd.log")
    if path == "-" and not twistd.get("nodaemon"):
        return None  # twistd refuses it
    folder = os.path.dirname(os.path.abspath(path))
    if path not in ("", "-") and not os.access(folder, os.W_OK):
        raise usage.UsageError(f"--logfile: cannot write {path}: see to the folder {folder}")
    # absolute, for a daemon changes its folder
    output = Output(os.path.abspath(path) if path not in ("", "-") else None)
    return Log(output, FORMATS[format])


def _remove_own(path: str) -> None:
    """Remove a file with our own process id: it is of a process that had it before us."""
    with suppress(OSError, ValueError):
        if int(Path(path).read_text()) == os.getpid():
            os.unlink(path)
