"""Cuts a stream of bytes into JSON objects, with or without newlines between them. Pure."""

from __future__ import annotations

import re

#: Bytes without a complete object after which a stream is given up.
MAX_OBJECT = 64 * 1024
#: Braces, quotes and backslashes of one object; each costs as much as a hundred plain bytes.
MAX_MARKS = 10_000

_SPACE = re.compile(rb"[ \t\r\n]*")
_LINE_END = re.compile(rb"[ \t\r]*\n")
#: All that can change whether a brace opens or closes an object.
_MARK = re.compile(rb'[{}"\\]')


class NotAnObject(Exception):
    """What came is not the beginning of a JSON object, or too long for one."""


class Splitter:
    """Feed it bytes in any pieces; `next` gives what lies between an object's braces.

    Whether that is JSON is for the caller to find out: here only strings and braces count. Every
    byte is looked at once, however small the pieces.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        #: Up to where it was taken, and looked at.
        self._start = self._scanned = 0
        self._depth = self._marks = 0
        self._in_string = False

    def __len__(self) -> int:
        return len(self._buffer) - self._start

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        del self._buffer[: self._start]
        self._scanned -= self._start
        self._start = 0
        self._buffer += data

    def next(self) -> bytes | None:
        """The next complete object, None if more is needed. Raises `NotAnObject`."""
        if not self._depth:
            self._start = self._scanned = _after(_SPACE, self._buffer, self._start)
            if len(self) and not self._buffer.startswith(b"{", self._start):
                raise NotAnObject('Send a JSON object, such as {"roomname":"lobby"}.')
        end = self._scan()
        if (end or len(self._buffer)) - self._start > MAX_OBJECT:
            raise NotAnObject(f"No complete JSON object within {MAX_OBJECT} bytes.")
        if end is None:
            return None
        found = bytes(self._buffer[self._start : end])
        self._start = self._scanned = end
        return found

    def newline(self) -> bool:
        """Whether a newline follows the object last returned; it is taken."""
        before, self._start = self._start, _after(_LINE_END, self._buffer, self._start)
        return self._start > before

    def ends_line(self) -> bool:
        """Whether what has come and was not taken ends with a newline."""
        return self._buffer.endswith(b"\n", self._start)

    def _scan(self) -> int | None:
        """Where the object ends that begins at the start, if that much has come."""
        at = self._scanned
        while match := _MARK.search(self._buffer, at):
            mark, at = match[0], match.end()
            self._marks += 1
            if self._marks > MAX_MARKS:
                raise NotAnObject("Too many braces and quotes for one JSON object.")
            if mark == b"\\":
                if at == len(self._buffer):  # what it escapes has not come
                    self._scanned = at - 1
                    return None
                at += 1
            elif mark == b'"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += 1 if mark == b"{" else -1
                if not self._depth:
                    self._marks = 0
                    return at
        self._scanned = len(self._buffer)
        return None


def _after(pattern: re.Pattern[bytes], buffer: bytearray, start: int) -> int:
    """Where what ``pattern`` finds at ``start`` ends; ``start`` if it finds nothing."""
    match = pattern.match(buffer, start)
    return match.end() if match else start
