"""Defaults for twistd's own options, where the operator has not set them."""

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
    """Set twistd's own options, after parsing and before twistd acts on them.

    In the foreground there is no pid file: whoever started the process knows its id, and a file
    left by a killed process would block the next start when the id is used again, as in a
    container, where it is always 1. The log goes to standard output. A ``check`` may run beside a
    running chatd.
    """
    if check or (twistd.get("nodaemon") and twistd.get("pidfile") == PIDFILE):
        twistd["pidfile"] = ""
    elif twistd.get("pidfile"):
        _remove_own(twistd["pidfile"])
    if twistd.get("umask") is None:
        os.umask(0o077)


def take_log(twistd: MutableMapping[str, Any], format: str) -> Log | None:
    """chatd's log, writing to where twistd would have logged; None if the operator chose another
    observer or syslog."""
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    path = twistd.get("logfile") or ("" if twistd.get("nodaemon") else "twistd.log")
    if path == "-" and not twistd.get("nodaemon"):
        return None  # twistd refuses it
    folder = os.path.dirname(os.path.abspath(path))
    if path not in ("", "-") and not os.access(folder, os.W_OK):
        raise usage.UsageError(f"--logfile: cannot write {path}: see to the folder {folder}")
    # absolute, for a daemon changes its working directory
    output = Output(os.path.abspath(path) if path not in ("", "-") else None)
    return Log(output, FORMATS[format])


def _remove_own(path: str) -> None:
    """Remove a pid file that holds our own process id: an earlier process left it."""
    with suppress(OSError, ValueError):
        if int(Path(path).read_text()) == os.getpid():
            os.unlink(path)
