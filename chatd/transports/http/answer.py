"""Writing large answers piece by piece, as the client reads them."""

from __future__ import annotations

from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.protocol.errors import ChatError
from chatd.transports.http.request import LimitedRequest as Request

#: Bytes of one piece.
PIECE = 48 * 1024

_log = Logger()


class Pieces(Protocol):
    """A body that is generated while it is sent."""

    async def next(self) -> bytes:
        """The next piece, empty at the end. If it raises `ChatError`, the connection is aborted, so
        that the client can tell that the answer is incomplete."""


@define(eq=False)
class Whole:
    """The pieces of a body that is complete."""

    _body: bytes
    _at: int = field(default=0, init=False)

    async def next(self) -> bytes:
        piece = self._body[self._at : self._at + PIECE]
        self._at += len(piece)
        return piece


def answer(request: Request, body: bytes | Pieces) -> None:
    """Write ``body``, and finish."""
    if request.method == b"HEAD":
        request.finish()  # without having the pieces of a body made
        return
    if isinstance(body, bytes) and len(body) <= PIECE:
        request.write(body)
        request.finish()
        return
    pieces: Pieces = Whole(body) if isinstance(body, bytes) else body
    writing = Deferred.fromCoroutine(_Answer(request, pieces).write())
    writing.addErrback(_cut_off, request)


def _cut_off(failure: Failure, request: Request) -> None:
    if failure.check(CancelledError):
        return  # given up with its client
    if not failure.check(ChatError):
        _log.failure("An answer failed.", failure)
    channel: Any = request.channel
    if channel is not None:
        channel.transport.abortConnection()


@implementer(IPushProducer)
class _Answer:
    """Writes one answer, as a push producer."""

    def __init__(self, request: Request, pieces: Pieces) -> None:
        self._request = request
        self._pieces = pieces
        self._taken: Deferred[None] | None = None
        self._paused = False
        self._gone = False

    async def write(self) -> None:
        """Write all pieces, each when the transport can take it."""
        request = self._request
        channel: Any = request.channel
        request.notifyFinish().addErrback(lambda _: self.stopProducing())
        request.registerProducer(self, True)
        line = channel.line
        while not self._gone and (piece := await self._pieces.next()):
            if self._gone:
                return
            request.write(piece)
            if self._paused:
                channel.await_client()
                self._taken = Deferred()
                await self._taken
            await line.next()  # each piece costs as much as a request
        if not self._gone:
            request.unregisterProducer()
            request.finish()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._wake()

    def stopProducing(self) -> None:
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        taken, self._taken = self._taken, None
        if taken is not None:
            taken.callback(None)
