"""Probes and metrics: whether the node lives, and whether it is ready."""

from __future__ import annotations

from collections.abc import Callable

from chatd.access.proxies import is_direct
from chatd.telemetry.metrics import CONTENT_TYPE, Metrics
from chatd.transports.http.call import Call, Reply, Route

#: Answered whatever the limits, and while the node drains.
UNLIMITED = frozenset({"/healthz", "/readyz", "/metrics"})


class Probes:
    """``/healthz``, ``/readyz``, ``/metrics``."""

    def __init__(
        self, metrics: Metrics, trouble: Callable[[], str], blocked: Callable[[], str]
    ) -> None:
        self._metrics = metrics
        self._trouble = trouble
        self._blocked = blocked

    def routes(self) -> list[Route]:
        """The routes of this class."""
        return [
            Route("/healthz", {"GET": self.alive}),
            Route("/readyz", {"GET": self.ready}, checked=True),
            Route("/metrics", {"GET": self.metrics}),
        ]

    async def alive(self, call: Call) -> Reply:
        """The process answers."""
        return Reply(200, {"status": "alive"})

    async def ready(self, call: Call) -> Reply:
        """The broker is connected and the directory loaded; ``why`` says what is missing, and
        ``publishing`` why the broker takes no messages for the time being, if it does not."""
        if trouble := self._trouble():
            answer = {"status": "not ready", "why": trouble}
            return Reply(503, answer, headers={"Retry-After": "2"})
        why = self._blocked()
        return Reply(200, {"status": "ready"} | ({"publishing": why} if why else {}))

    def open_routes(self) -> list[Route]:
        """What the port of ``--metrics`` serves."""
        return [Route("/metrics", {"GET": self.open_metrics})]

    async def metrics(self, call: Call) -> Reply:
        """Prometheus text, for this machine's own programs and for the admin key."""
        peer = getattr(call.request.getClientAddress(), "host", None)
        local = is_direct(peer, call.request.headers)
        call.admission.rights.check_metrics(local, call.token, call.caller.address)
        return await self.open_metrics(call)

    async def open_metrics(self, call: Call) -> Reply:
        """Prometheus text, for whoever reaches it."""
        return Reply(200, await self._metrics.show(), CONTENT_TYPE)
