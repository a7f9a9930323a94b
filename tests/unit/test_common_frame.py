"""`chatd.transports.websocket.common_frame`: what it reads, and what it leaves to Autobahn."""

from __future__ import annotations

from unittest import TestCase

from chatd.transports.websocket.common_frame import common_frame

MASK = b"\x11\xa2\x33\xc4"
MOST = 100_000


def masked(payload: bytes, first: int = 0x81, head: bytes | None = None) -> bytes:
    """A frame whose payload is masked (RFC 6455, section 5.3), with ``head`` as its length."""
    size = len(payload)
    if head is None:
        head = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    hidden = bytes(byte ^ MASK[n % 4] for n, byte in enumerate(payload))
    return bytes([first]) + head + MASK + hidden


class CommonFrameTests(TestCase):
    def test_reads_a_whole_text(self) -> None:
        for size in (0, 1, 2, 3, 4, 5, 125, 126, 127, 255, 256, 65535):
            text = bytes(n % 128 for n in range(size))
            data = masked(text)
            self.assertEqual(common_frame(data, MOST), (text, len(data)), size)

    def test_leaves_what_follows(self) -> None:
        first, rest = masked("café".encode()), masked(b"next")
        self.assertEqual(common_frame(first + rest, MOST), ("café".encode(), len(first)))

    def test_leaves_a_frame_that_is_not_all_there(self) -> None:
        for data in (masked(b"Hello"), masked(b"x" * 300)):
            for end in range(len(data)):
                self.assertIsNone(common_frame(data[:end], MOST), end)

    def test_leaves_every_other_kind_of_frame(self) -> None:
        for first in range(256):
            if first != 0x81:
                self.assertIsNone(common_frame(masked(b"Hello", first), MOST), first)

    def test_leaves_what_breaks_a_rule(self) -> None:
        wrong = {
            "unmasked": b"\x81\x05Hello" + bytes(8),
            "a length in two bytes that fits in one": masked(b"x" * 125, head=b"\xfe\x00\x7d"),
            "a length in eight bytes": masked(b"x" * 5, head=b"\xff" + (5).to_bytes(8)),
            "one of which two could be a length": masked(
                b"x" * 300, head=b"\xff" + (300).to_bytes(2)
            ),
            "not UTF-8": masked(b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80"),
            "half a character": masked(b"caf\xc3"),
        }
        for why, data in wrong.items():
            self.assertIsNone(common_frame(data, MOST), why)

    def test_the_longest_that_is_allowed(self) -> None:
        self.assertIsNotNone(common_frame(masked(b"x" * 1000), 1000))
        self.assertIsNone(common_frame(masked(b"x" * 1001), 1000))
