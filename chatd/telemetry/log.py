"""The log: short lines for people, or one JSON object a line for programs.

Routine messages of libraries (Twisted's factories, each retry) are left out; chatd logs in its own
words what matters of them. Lines of one kind that come too often are counted instead of written.
"""

from __future__ import annotations

import errno
import json
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from attrs import define, field
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

#: At most so many lines of one kind (one call in the code) are written within `PERIOD` seconds.
OFTEN, PERIOD = 20, 10.0
#: The most kinds of lines that are counted separately.
KINDS = 1000

#: Names of files that a process has open from its start.
INHERITED = {"/dev/stdout": 1, "/dev/stderr": 2}

#: The library that warns about each invalid frame, of which clients can send any number.
ABOUT_CLIENTS = "autobahn."

_NOT_FIELDS = ("isError", "format", "message", "time", "system")


def one_line(text: str) -> str:
    """``text`` with line ends, and whatever could mislead a terminal, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _time(event: LogEvent) -> datetime:
    return datetime.fromtimestamp(event["log_time"], UTC)


def _level(event: LogEvent) -> str:
    level = event.get("log_level", LogLevel.info)
    return str(level.name)


def text_line(event: LogEvent) -> str:
    """``2026-11-25 22:31:20 warn: what happened``; a traceback follows, indented."""
    level = _level(event)
    said = one_line(formatEvent(event))
    line = f"{_time(event):%Y-%m-%d %H:%M:%SZ} {'' if level == 'info' else f'{level}: '}{said}"
    if "log_failure" in event:
        traceback = event["log_failure"].getTraceback().splitlines()
        line = "\n".join([line, *(f"    {one_line(one)}" for one in traceback)])
    return f"{line}\n"


def json_line(event: LogEvent) -> str:
    """One object: ``time`` (RFC 3339), ``level``, ``part`` (the module), ``text``, the fields of
    the event, and ``traceback`` if there is one."""
    shown: dict[str, Any] = {
        "time": _time(event).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": _level(event),
        "part": event.get("log_namespace", ""),
        "text": formatEvent(event),
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in (*shown, *_NOT_FIELDS):
            shown[name] = value if isinstance(value, int | float | str | bool) else str(value)
    if "log_failure" in event:
        shown["traceback"] = event["log_failure"].getTraceback()
    return json.dumps(shown) + "\n"


#: The formats that ``--log-format`` knows.
FORMATS: dict[str, Callable[[LogEvent], str]] = {"text": text_line, "json": json_line}


def matters(event: LogEvent) -> bool:
    """Whether to log an event: chatd's own ones, and warnings and errors of libraries."""
    level, part = event.get("log_level", LogLevel.info), str(event.get("log_namespace", ""))
    if event.get("isError") or level >= LogLevel.error:
        return True
    if part.startswith(ABOUT_CLIENTS):
        return False
    return bool(level >= (LogLevel.info if part.startswith("chatd") else LogLevel.warn))


@define(eq=False)
class Output:
    """Where lines are written: the file ``path``, or standard output. The file is only appended to,
    so a file that is truncated by others stays without holes. What cannot be written is lost: that
    is no reason to serve nobody. A pipe is never waited for, neither for a reader nor for space;
    nor is a terminal, unless it is that of another user."""

    path: str | None
    _file: int | None = field(default=None, init=False)
    #: What a pipe or a disk that is full did not take of the last line; it goes before the next.
    _rest: bytes = field(default=b"", init=False)
    #: Others write there by the same open file, which therefore stays one that blocks.
    _shared: bool = field(default=False, init=False)

    def write(self, text: str) -> str:
        """Write ``text`` at once. Returns why it is lost, "" if it is not; never raises."""
        try:
            if self.path is not None:
                self._append(self._open(self.path), text.encode("utf-8", "backslashreplace"))
            elif sys.__stdout__ is not None:
                line = text.encode(sys.__stdout__.encoding, "backslashreplace")
                self._append(self._standard_output(sys.__stdout__.fileno()), line)
        except OSError as e:
            return _why(e)
        except ValueError as e:  # standard output was closed
            return str(e)
        return ""

    def _open(self, path: str) -> int:
        if self._file is None:
            self._file, self._shared = _open(path)
        return self._file

    # a terminal that has any space need not have it for a line, so it is opened anew, not to block
    def _standard_output(self, file: int) -> int:
        if self._file is None and os.isatty(file):
            with suppress(OSError):  # as when it is the terminal of another user
                return self._open(f"/dev/fd/{file}")
        self._shared = self._file is None
        return file if self._file is None else self._file

    # not by way of a file of Python's: that keeps what a full disk does not take, and fails again
    # when it is closed
    def _append(self, file: int, line: bytes) -> None:
        put = _put_at_once if self._shared else os.write
        if self._rest:
            self._rest = self._rest[put(file, self._rest) :]
        if self._rest:  # lines are lost whole
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._rest = line[put(file, line) :]

    def close(self) -> None:
        """Close the file; the next line opens it again. Never raises."""
        file, self._file = self._file, None
        rest, self._rest = self._rest, b""
        if file is None:
            return
        if rest:
            with suppress(OSError):
                (_put_at_once if self._shared else os.write)(file, rest)
        with suppress(OSError):
            os.close(file)

    def reopen(self, what: str = "the log") -> list[str]:
        """Open the file anew, for log rotation. Returns a line for each error, about ``what``."""
        self.close()
        try:
            if self.path is not None:
                self._open(self.path)
        except OSError as e:
            return [f"{what}: cannot write {self.path}: {_why(e)}"]
        return []


def _put_at_once(file: int, data: bytes) -> int:
    """Write as much of ``data`` as ``file`` takes without being waited for. Returns how much."""
    space = select.poll()
    space.register(file, select.POLLOUT)
    written = 0
    # a pipe that has any has space for so much (pipe(7))
    while written < len(data) and space.poll(0):
        written += os.write(file, data[written : written + select.PIPE_BUF])
    return written


def _open(path: str) -> tuple[int, bool]:
    """The file at ``path``, and whether it is one that others write to, too."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        return os.open(path, flags, 0o666), False
    except OSError as e:
        # what is a socket, as the output of a service may be, cannot be opened by its name, nor
        # what belongs to another user, as after root has become one that may do less
        if e.errno not in (errno.ENXIO, errno.EACCES) or path not in INHERITED:
            raise
        return os.dup(INHERITED[path]), True


def _why(error: OSError) -> str:
    meaning = {
        errno.ENXIO: "it is a pipe that nobody reads",
        errno.EAGAIN: "it is a pipe or a terminal that is not read as fast as it is written",
    }
    return meaning.get(error.errno or 0) or error.strerror or str(error)


@define
class _Kind:
    since: float
    count: int = 0


@implementer(ILogObserver)
@define(eq=False)
class Log:
    """Writes the events that matter to ``output``."""

    output: Output
    format: Callable[[LogEvent], str]
    _kinds: dict[object, _Kind] = field(factory=dict, init=False)

    def __call__(self, event: LogEvent) -> None:
        if not matters(event):
            return
        left_out = self._left_out(event)
        if left_out is None:
            return
        if left_out:
            text = "{count} lines like the next one were left out"
            note = {**_skeleton(event), "log_format": text, "count": left_out}
            self._write(note)
        self._write(event)

    def _write(self, event: LogEvent) -> None:
        self.output.write(self.format(event))  # there is nowhere to report that it is lost

    def _left_out(self, event: LogEvent) -> int | None:
        """How many lines of this kind were left out before this one; None if this one is to be left
        out, too."""
        now = event["log_time"]
        key = event.get("log_namespace"), event.get("log_format"), event.get("log_level")
        kind = self._kinds.pop(key, None)
        left_out = 0
        if kind is None or not 0 <= now - kind.since < PERIOD:
            left_out = max(0, kind.count - OFTEN) if kind is not None else 0
            kind = _Kind(now)
        self._kinds[key] = kind  # the least recently used stands first
        if len(self._kinds) > KINDS:
            del self._kinds[next(iter(self._kinds))]
        kind.count += 1
        return left_out if kind.count <= OFTEN else None


def _skeleton(event: LogEvent) -> LogEvent:
    names = ("log_time", "log_level", "log_namespace")
    return {name: event[name] for name in names if name in event}
