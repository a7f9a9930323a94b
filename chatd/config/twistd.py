"""Defaults for twistd's own options, where the operator has not set them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.python import usage

from chatd.config import parsers
from chatd.config.sources import Problem
from chatd.config.user import as_user, check_user
from chatd.telemetry.log import FORMATS, Log, Output

#: twistd's own default for ``--pidfile``.
PIDFILE = "twistd.pid"


def settle(twistd: MutableMapping[str, Any], check: bool = False) -> None:
    """Set twistd's own options, after parsing and before twistd acts on them.

    In the foreground there is no pid file: whoever started the process knows its id, and a file
    left by a killed process would block the next start when the id is used again, as in a
    container, where it is always 1. The log goes to standard output. A ``check`` may run beside a
    running chatd. Raises `usage.UsageError` for a pid file that cannot be written, for a root or
    working directory that cannot be used, and for a user whom this process cannot become.
    """
    check_user(twistd)
    _check_folders(twistd)
    if check or (twistd.get("nodaemon") and twistd.get("pidfile") == PIDFILE):
        twistd["pidfile"] = ""
    elif twistd.get("pidfile"):
        _remove_own(twistd["pidfile"])
        # from where twistd will be when it writes the file
        path = os.path.join(twistd.get("rundir") or "", twistd["pidfile"])
        _check_writable("pidfile", os.path.normpath(path))
    if twistd.get("umask") is None:
        os.umask(0o077)


def _check_folders(twistd: Mapping[str, Any]) -> None:
    """Those of ``--chroot`` and ``--rundir``. Without the null device a daemon never tells the
    process that waits for it that it could not start, and Twisted opens no port."""
    root, folder = twistd.get("chroot"), twistd.get("rundir") or "."
    if root:
        if not os.path.isdir(root):
            raise usage.UsageError(f"--chroot: there is no folder {root}")
        if not os.path.exists(root + os.devnull):
            raise usage.UsageError(f"--chroot: {root} has no {os.devnull}; make it with mknod")
        if os.path.isabs(folder):
            folder = root + folder
    if not os.path.isdir(folder):
        raise usage.UsageError(f"--rundir: there is no folder {folder}")


def take_log(twistd: MutableMapping[str, Any], format: str, check: bool = False) -> Log | None:
    """chatd's log, writing to where twistd would have logged; None if the operator chose another
    observer or syslog. Raises `usage.UsageError` for a file that cannot be written; a ``check``
    does not try pipes, whose reader would see them end."""
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    path = twistd.get("logfile") or ("" if twistd.get("nodaemon") else "twistd.log")
    if path == "-" and not twistd.get("nodaemon"):
        return None  # twistd refuses it
    if path not in ("", "-"):
        with as_user(twistd):
            _check_writable("logfile", path)
    # absolute, for a daemon changes its working directory
    output = Output(os.path.abspath(path) if path not in ("", "-") else None)
    if not check and output.path is not None and _is_pipe(output.path):
        # opened already, and kept open: a reader would take a close for the end
        for fault in output.reopen("--logfile"):
            raise usage.UsageError(fault)
    return Log(output, FORMATS[format])


def check_output(twistd: Mapping[str, Any], where: str) -> None:
    """Raise `Problem` if there is no standard output, which was chosen at ``where``."""
    if not twistd.get("nodaemon"):
        why = "- is standard output, which a daemon has not; give a file, or twistd --nodaemon"
        raise Problem(f"{where}: {why}")


def _check_writable(option: str, path: str) -> None:
    try:
        parsers.writable(path)
    except ValueError as e:
        raise usage.UsageError(f"--{option}: {e}") from None


def _is_pipe(path: str) -> bool:
    """Whether ``path`` is a named pipe. ``/dev/stdout`` is not, whatever is behind it: that is
    opened when it is needed, for a daemon has another one then."""
    try:
        return not path.startswith(("/dev/", "/proc/")) and stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def _remove_own(path: str) -> None:
    """Remove a pid file that holds our own process id: an earlier process left it."""
    with suppress(OSError, ValueError):
        if int(Path(path).read_text()) == os.getpid():
            os.unlink(path)
