"""Splitting a stream of bytes into JSON objects, with or without newlines between them. Pure."""

from __future__ import annotations

import re

from chatd.protocol.json import MARK

#: Bytes of one object, at most.
MAX_OBJECT = 64 * 1024
#: Braces, quotes and backslashes of one object, at most: each costs as much as a hundred other
#: bytes.
MAX_DELIMITERS = 10_000

#: What may stand between objects.
_SPACE = re.compile(rb"(?:[ \t\r\n]|%b)*" % MARK)
_LINE_END = re.compile(rb"[ \t\r]*\n")
#: The bytes that matter for where an object ends, and for where a string in it does.
_OUTSIDE, _IN_STRING = re.compile(rb'[{}"]'), re.compile(rb'["\\\n]')
#: How a TLS handshake begins (RFC 8446, section 5.1).
_TLS = b"\x16\x03"


class NotAnObject(Exception):
    """The bytes are not a JSON object, or it is too long. The text is for the client."""


class Splitter:
    """Feed it bytes in any pieces; `next` returns the bytes of one object at a time.

    Only strings and braces are looked at; the caller must find out whether it is JSON. Every byte
    is scanned once, however small the pieces are.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        #: The positions up to which the buffer was returned, and scanned.
        self._start = self._scanned = 0
        self._depth = self._delimiters = 0
        self._in_string = False
        #: Whether more than white space has come since the object last returned.
        self.begun = False
        #: The newline after the object last returned may still come.
        self._open_line = False

    def __len__(self) -> int:
        return len(self._buffer) - self._start

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        del self._buffer[: self._start]
        self._scanned -= self._start
        self._start = 0
        self._buffer += data
        self.begun = self.begun or _after(_SPACE, data, 0) < len(data)

    def next(self) -> bytes | None:
        """The next object, None if it is not complete. Raises `NotAnObject`."""
        if not self._depth:
            self._start = self._scanned = _after(_SPACE, self._buffer, self._start)
            begin = self._buffer[self._start : self._start + len(MARK)]
            if begin.startswith(_TLS):
                raise NotAnObject("This port speaks no TLS: send JSON as it is.")
            if MARK.startswith(begin) or _TLS.startswith(begin):
                return None  # the rest of it has not come yet, or nothing has
            if not begin.startswith(b"{"):
                raise NotAnObject('Send a JSON object in UTF-8, such as {"roomname":"lobby"}.')
        end = self._scan()
        if (end or len(self._buffer)) - self._start > MAX_OBJECT:
            raise NotAnObject(f"No complete JSON object within {MAX_OBJECT} bytes.")
        if end is None:
            return None
        found = bytes(self._buffer[self._start : end])
        self._start = self._scanned = end
        self.begun = _after(_SPACE, self._buffer, end) < len(self._buffer)
        return found

    def newline(self) -> bool:
        """Skip a newline after the object last returned; whether there was one. See also
        `late_newline`."""
        before, self._start = self._start, _after(_LINE_END, self._buffer, self._start)
        self._open_line = self._start == before
        return not self._open_line

    def late_newline(self) -> bool:
        """Skip a newline that has come only after `newline` found none; whether there was one."""
        if not self._open_line:
            return False
        found = self.newline()
        if found or _after(_SPACE, self._buffer, self._start) < len(self._buffer):
            self._open_line = False  # something else has come
        return found

    def ends_line(self) -> bool:
        """Whether the remaining bytes end with a newline."""
        return self._buffer.endswith(b"\n", self._start)

    def _scan(self) -> int | None:
        """The end of the object at the start of the buffer, None if it is not complete."""
        at = self._scanned
        while match := (_IN_STRING if self._in_string else _OUTSIDE).search(self._buffer, at):
            delimiter, at = match[0], match.end()
            self._delimiters += 1
            if self._delimiters > MAX_DELIMITERS:
                raise NotAnObject("Too many braces and quotes for one JSON object.")
            if delimiter == b"\\":
                if at == len(self._buffer):  # the escaped character has not come yet
                    self._scanned = at - 1
                    return None
                at += 1
            elif delimiter == b"\n":
                raise NotAnObject("A line ends within a string; is a quotation mark missing?")
            elif delimiter == b'"':
                self._in_string = not self._in_string
            else:
                self._depth += 1 if delimiter == b"{" else -1
                if not self._depth:
                    self._delimiters = 0
                    return at
        self._scanned = len(self._buffer)
        return None


def _after(pattern: re.Pattern[bytes], buffer: bytes | bytearray, start: int) -> int:
    """The end of the match of ``pattern`` at ``start``; ``start`` if there is none."""
    match = pattern.match(buffer, start)
    return match.end() if match else start
