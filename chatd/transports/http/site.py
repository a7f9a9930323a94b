"""The factory of the HTTP port."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.web.resource import IResource
from twisted.web.server import Site

from chatd.access.admission import Admission
from chatd.access.overflow import Overflow
from chatd.access.proxies import UNIX
from chatd.access.rate_limit import too_fast
from chatd.protocol.errors import Code
from chatd.telemetry.access_log import Access
from chatd.telemetry.metrics import Metrics
from chatd.telemetry.tracing import request_id
from chatd.transports.http.connection import HTTPConnection
from chatd.transports.http.head import TLS_ONLY, refusal
from chatd.transports.http.poll_connection import PollConnection
from chatd.transports.http.request import LimitedRequest
from chatd.transports.http.waiting_poll import UsualPolls


class LimitedSite(Site):
    """Makes the connections of the HTTP port. ``max_body`` is in bytes."""

    displayTracebacks = False
    noisy = False

    def __init__(
        self, root: IResource, admission: Admission, metrics: Metrics, max_body: int
    ) -> None:
        super().__init__(root, LimitedRequest)
        self.admission = admission
        self.metrics = metrics
        self.max_body = max_body
        self.overflow = Overflow()
        #: What answers usual polls, if anything does.
        self.polls: UsualPolls | None = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        channel = HTTPConnection() if self.polls is None else PollConnection(self.polls)
        channel.factory = channel.site = self
        channel.requestFactory = self.requestFactory
        return channel

    def log(self, request: Any) -> None:
        """A request has been answered, or its client has hung up."""
        if self.admission.access_log is not None:
            seconds = self.admission.clock.seconds() - request.began if request.began else 0.0
            peer = getattr(request.getClientAddress(), "host", UNIX)
            self.admission.access_log.write(
                Access(
                    request.address or peer,
                    request.asker,
                    f"{request.what} {request.clientproto.decode('latin-1')}",
                    request.code,
                    request.sentLength,
                    seconds,
                    request.refusal,
                    request_id(request.trace),
                )
            )

    def refused(self, transport: Any, status: int, code: Code, why: str, size: int) -> None:
        """What cannot be a request was answered with ``size`` bytes."""
        address = getattr(transport.getPeer(), "host", UNIX)
        self.metrics.refusals.add(code.word, address, "no request", why)
        self.metrics.requests.labels(str(status)).inc()
        if self.admission.access_log is not None:
            self.admission.access_log.write(Access(address, "", "-", status, size, 0.0, code.word))

    def refuse_plain(self, transport: Any, data: bytes) -> bytes:
        """See `chatd.net.handshakes.FactoryInTurn`."""
        said = refusal(400, Code.BAD_REQUEST, TLS_ONLY, {})
        self.refused(transport, 400, Code.BAD_REQUEST, TLS_ONLY, len(said))
        return said

    def give_up(self, transport: Any) -> None:
        """Cut off a client that was over its allowance for too long."""
        error, address = too_fast(), getattr(transport.getPeer(), "host", UNIX)
        self.metrics.refusals.add(error.code.word, address, "HTTP", error.text)
        transport.abortConnection()

    def acceptableProtocols(self) -> list[bytes]:
        """The protocols for ALPN: WebSocket needs HTTP/1.1."""
        return [b"http/1.1", b"http/1.0"]
