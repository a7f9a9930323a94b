"""The body of a request as it is received."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.protocol.errors import ChatError
from chatd.transports.http.body import PIECES, Body
from chatd.transports.http.request import PIECES as CHUNKS


class BodyTests(SynchronousTestCase):
    def whole(self, body: Body) -> Deferred[bytes]:
        return Deferred.fromCoroutine(body.whole(lambda: None))

    def test_many_pieces_are_joined(self) -> None:
        body = Body(2 * CHUNKS)
        waiting = self.whole(body)
        sent = b""
        for n in range(CHUNKS):
            sent += (piece := bytes([n % 251, n % 13]))
            body.add(piece)
            self.assertLessEqual(len(body._pieces), PIECES)
        self.assertNoResult(waiting)
        body.complete()
        self.assertEqual(self.successResultOf(waiting), sent)

    def test_of_what_is_too_long_nothing_is_kept(self) -> None:
        body = Body(2 * PIECES)
        for _ in range(2 * PIECES + 1):
            body.add(b"x")
        self.assertEqual(body._pieces, [])
        self.assertIsInstance(self.failureResultOf(self.whole(body)).value, ChatError)
