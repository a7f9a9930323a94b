"""The body of a request in chunks, and the trailer fields behind it (RFC 9112, section 7.1)."""

from __future__ import annotations

import re
from typing import Any

from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError

#: Chunks of a body, at most: a client whose text comes line by line has fewer.
CHUNKS = 1000
#: Lines and bytes of trailer fields, at most: as of a head.
TRAILERS = 100
TRAILER_BYTES = 16 * 1024

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_END = b"\r\n"
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r\n]*")


class Chunks(_ChunkedTransferDecoder):
    """Decodes the chunks, `CHUNKS` at most, for a body in chunks of one byte takes a hundred times
    as long as another; judges trailer fields as strictly as a head's, and drops them.

    twisted.web keeps them, 64 KiB of lines of any length and kind, which takes thirty times as much
    memory; and what another reader takes for the end of the body and a further request may be among
    them."""

    _trailerHeaders: list[bytearray]

    def __init__(self, *callbacks: Any) -> None:
        super().__init__(*callbacks)
        self._maxTrailerHeadersSize = TRAILER_BYTES
        self._trailers = 0
        self._count = 0

    @property
    def too_many(self) -> bool:
        """Whether there were more chunks than there may be."""
        return self._count > CHUNKS

    def dataReceived(self, data: bytes) -> None:
        if self.state == "CHUNK_LENGTH" and not self._buffer:
            data = data[self._whole(data) :]
        super().dataReceived(data)

    def _whole(self, data: bytes) -> int:
        """Decode the whole chunks that ``data`` begins with, as long as nothing is unusual; returns
        where the rest begins."""
        place, found = 0, []
        while (size := _SIZE.match(data, place)) is not None and self._count < CHUNKS:
            end = size.end() + int(size[1], 16)
            if end == size.end() or data[end : end + 2] != _END:
                break
            found.append(data[size.end() : end])
            place = end + 2
            self._count += 1
        if found:
            self.dataCallback(b"".join(found))
        return place

    def _dataReceived_CHUNK_LENGTH(self) -> bool:
        goes_on = bool(super()._dataReceived_CHUNK_LENGTH())
        if self.state == "BODY":
            self._count += 1
            if self.too_many:
                raise _MalformedChunkedDataError("These are too many chunks.")
        return goes_on

    def _dataReceived_TRAILER(self) -> bool:
        goes_on = super()._dataReceived_TRAILER()
        if self._trailerHeaders:
            self._trailers += 1
            if self._trailers > TRAILERS or not _FIELD.fullmatch(self._trailerHeaders.pop()):
                raise _MalformedChunkedDataError("These are no trailer fields.")
        return bool(goes_on)
