"""A body in chunks, and the trailer fields behind it."""

from __future__ import annotations

from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import _MalformedChunkedDataError

from chatd.transports.http.chunks import CHUNKS, TRAILER_BYTES, TRAILERS, Chunks

BODY = b"1\r\na\r\n" + b"A;x=y\r\n0123456789\r\n" + b"002\r\n\r\n\r\n" + b"0\r\nX: y\r\n\r\nGET"


class ChunksTests(SynchronousTestCase):
    def decoded(self, *pieces: bytes) -> tuple[bytes, bytes, int]:
        """The body in ``pieces``, what came behind it, and in how many calls the body came."""
        found: list[bytes] = []
        behind: list[bytes] = []
        chunks = Chunks(found.append, behind.append)
        for piece in pieces:
            if behind:
                behind.append(piece)
            else:
                chunks.dataReceived(piece)
        return b"".join(found), b"".join(behind), len(found)

    def test_pieces_change_nothing(self) -> None:
        size = len(BODY)
        for step in range(1, size + 1):
            pieces = [BODY[a:b] for a, b in pairwise([*range(0, size, step), size])]
            self.assertEqual(self.decoded(*pieces)[:2], (b"a0123456789\r\n", b"GET"), step)

    def test_what_comes_together_is_handed_on_together(self) -> None:
        self.assertEqual(self.decoded(b"1\r\na\r\n" * 500 + b"0\r\n\r\n"), (b"a" * 500, b"", 1))

    def test_as_many_as_there_may_be(self) -> None:
        for one in (b"1\r\na\r\n", b"1;x\r\na\r\n"):
            for pieces in ([one * CHUNKS], [one] * CHUNKS, [one[:2], one[2:]] * CHUNKS):
                body, behind, _ = self.decoded(*pieces, b"0\r\n\r\nGET")
                self.assertEqual((body, behind), (b"a" * CHUNKS, b"GET"))
                with self.assertRaises(_MalformedChunkedDataError):
                    self.decoded(*pieces, one)
            with self.assertRaises(_MalformedChunkedDataError):
                self.decoded(one * (CHUNKS + 1))

    def test_what_is_none(self) -> None:
        for chunk in (b"x\r\n", b"-1\r\na\r\n", b"1\r\nab\r\n", b"\r\n", b"1\na\n", b"+1\r\na\r\n"):
            with self.assertRaises(_MalformedChunkedDataError):
                self.decoded(b"1\r\na\r\n" + chunk + b"0\r\n\r\n")


class TrailersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.said: list[bytes] = []
        self.chunks = Chunks(self.said.append, self.said.append)
        self.chunks.dataReceived(b"2\r\nhi\r\n0\r\n")

    def test_as_many_as_there_may_be(self) -> None:
        for n in range(TRAILERS):
            self.chunks.dataReceived(f"X-{n}: y\t\u00e9\r\n".encode("latin-1"))
            self.assertEqual(self.chunks._trailerHeaders, [], "none is kept")
        self.chunks.dataReceived(b"\r\nGET")
        self.assertEqual(self.said, [b"hi", b"GET"])

    def test_too_many(self) -> None:
        for trailers in (
            b"x:\r\n" * (TRAILERS + 1),
            b"x:" + b"y" * TRAILER_BYTES + b"\r\n",
            b"x:" + b"y" * TRAILER_BYTES,
        ):
            self.setUp()
            with self.assertRaises(_MalformedChunkedDataError):
                self.chunks.dataReceived(trailers)

    def test_what_is_none(self) -> None:
        for trailer in (
            b"GET / HTTP/1.1",
            b"x y: z",
            b"x : y",
            b" x: y",
            b": y",
            b"x: y\n\nGET /",
            b"x: y\rz",
            b"x: \x00",
        ):
            self.setUp()
            with self.assertRaises(_MalformedChunkedDataError):
                self.chunks.dataReceived(trailer + b"\r\n\r\n")
