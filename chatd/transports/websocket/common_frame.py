"""The frame that nearly every message comes in, read without Autobahn: whole, masked, a text,
without extensions (RFC 6455, section 5.2).

Autobahn prepares each frame for all that it might be: pieces, compression, a validator that
remembers. For a whole frame that is over a quarter of what a message costs from socket to
acknowledgement. Every other frame, and every error, is left to Autobahn.
"""

from __future__ import annotations

#: The first byte of a text frame that is the whole message.
_TEXT = 0x81
#: The bit of the second byte that says that a mask follows, and what the length may be there.
_MASKED, _IN_TWO_BYTES = 0x80, 126
_MASK = 4


def common_frame(data: bytes, most: int) -> tuple[bytes, int] | None:
    """The text, in UTF-8, of the frame that ``data`` begins with, and where the next frame begins.
    None if it is another kind of frame, is not all there, breaks a rule, or has more than ``most``
    bytes."""
    if len(data) < 2 + _MASK or data[0] != _TEXT or data[1] < _MASKED:
        return None
    size, mask = data[1] - _MASKED, 2
    if size >= _IN_TWO_BYTES:
        size, mask = int.from_bytes(data[2:4]) if size == _IN_TWO_BYTES else 0, 4
        if size < _IN_TWO_BYTES:  # not the shortest way to say it; or in eight bytes, which is rare
            return None
    begin, end = mask + _MASK, mask + _MASK + size
    if len(data) < end or size > most:
        return None
    text = _unmasked(data[begin:end], data[mask:begin])
    return (text, end) if text.isascii() or _is_utf8(text) else None


def _unmasked(masked: bytes, mask: bytes) -> bytes:
    """``masked``, each byte with one of ``mask``'s in turn (RFC 6455, section 5.3)."""
    size = len(masked)
    key = (mask * (size // _MASK + 1))[:size]
    return (int.from_bytes(masked) ^ int.from_bytes(key)).to_bytes(size)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
