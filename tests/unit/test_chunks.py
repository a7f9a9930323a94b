"""The trailer fields behind a body in chunks."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import _MalformedChunkedDataError

from chatd.transports.http.chunks import TRAILER_BYTES, TRAILERS, Chunks


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
