"""The body of a request in chunks, and the trailer fields behind it (RFC 9112, section 7.1)."""

from __future__ import annotations

import re
from typing import Any

from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError

#: Lines and bytes of trailer fields, at most: as of a head.
TRAILERS = 100
TRAILER_BYTES = 16 * 1024

_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r\n]*")


class Chunks(_ChunkedTransferDecoder):
    """Decodes the chunks, judges trailer fields as strictly as a head's, and drops them.

    twisted.web keeps them, 64 KiB of lines of any length and kind, which takes thirty times as much
    memory; and what another reader takes for the end of the body and a further request may be among
    them."""

    _trailerHeaders: list[bytearray]

    def __init__(self, *callbacks: Any) -> None:
        super().__init__(*callbacks)
        self._maxTrailerHeadersSize = TRAILER_BYTES
        self._trailers = 0

    def _dataReceived_TRAILER(self) -> bool:
        goes_on = super()._dataReceived_TRAILER()
        if self._trailerHeaders:
            self._trailers += 1
            if self._trailers > TRAILERS or not _FIELD.fullmatch(self._trailerHeaders.pop()):
                raise _MalformedChunkedDataError("These are no trailer fields.")
        return bool(goes_on)
