"""Which web pages may use chatd, and which host names it answers to.

A browser sends cookies and form posts to any server that a page names, so a request with an Origin
(RFC 6454) that is not allowed is refused before anything is done. The Host header is checked as
well, because a name in an attacker's DNS can lead to this machine (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from attrs import define, field
from twisted.logger import Logger

from chatd.access.hosts import DEFAULT_PORTS, Origin, host_name, normalise_origin, split_host
from chatd.access.proxies import Caller, Headers, Proxies, is_address
from chatd.protocol.errors import ChatError, Code

#: How long a browser may remember a preflight, in seconds; Chromium's own limit.
PREFLIGHT_AGE = 7200
#: Headers that pages of allowed origins may send, besides those that any may: what chatd reads,
#: what polyfills of EventSource add, and what OpenTelemetry propagates a trace with.
TAKEN = (
    "Authorization, Baggage, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID,"
    " Traceparent, Tracestate"
)
#: Headers of answers that such pages may read, besides those that any may.
EXPOSED = "Retry-After, Allow, X-Request-Id"

#: Values of Sec-Fetch-Site: the request is by a page that is not chatd's own.
_FOREIGN = frozenset({"cross-site", "same-site"})

#: Refused origins that are logged: a stranger can make up any number.
TOLD = 100


@define
class OriginPolicy:
    """Judges every HTTP request and WebSocket handshake by its Origin, Host and Fetch Metadata.

    ``origins`` are those of ``--origin``, or ``*``. ``hosts`` are those of ``--host``, or ``*``. If
    there are none, ``loopback_only`` decides: localhost and literal addresses are accepted while
    only loopback is listened on, and every name otherwise. ``proxies`` say whose forwarding headers
    count.
    """

    origins: Sequence[str] = ()
    hosts: Sequence[str] = ()
    loopback_only: bool = False
    proxies: Proxies = field(factory=Proxies)
    _log: ClassVar = Logger()
    #: Refused origins that were logged.
    _told: set[str] = field(factory=set, init=False)
    _allowed: frozenset[str] = field(init=False)
    _names: frozenset[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._allowed = frozenset(normalise_origin(o) for o in self.origins)
        listed = [Origin.parse(o).host for o in self._allowed if o != "*"]
        names = ["*" if host == "*" else host_name(host) for host in self.hosts]
        self._names = frozenset([*listed, *names])

    def check(
        self,
        peer: str | None,
        secure: bool,
        headers: Headers,
        public: bool = False,
        linked: bool = False,
    ) -> Caller:
        """Where a request came from, if it passes; see `Proxies.caller` and `judge`."""
        caller = self.proxies.caller(peer, secure, headers)
        self.judge(caller, headers, public, linked)
        return caller

    def judge(
        self, caller: Caller, headers: Headers, public: bool = False, linked: bool = False
    ) -> None:
        """Let a request pass or raise `ChatError` forbidden, with a text that says what to set.

        ``public``: any page may have what is asked for. ``linked``: any page may lead to it.
        """
        self._check_host(caller)
        if not public:
            self._check_origin(headers("origin"), caller)
        if not (public or linked):
            self._check_site(headers)

    def _check_host(self, caller: Caller) -> None:
        """A browser always sends a Host; a client without one was not led here by DNS."""
        if caller.host is None or "*" in self._names or not (self.hosts or self.loopback_only):
            return
        try:
            name, _ = split_host(caller.host)
        except ValueError:
            raise ChatError(
                Code.FORBIDDEN, "The Host header is not a host name; see --host."
            ) from None
        if name in self._names:
            return
        if not self.hosts and (name == "localhost" or is_address(name)):
            return
        raise ChatError(
            Code.FORBIDDEN, f"The Host {name} is not accepted; start chatd with --host {name}"
        )

    def _check_origin(self, header: str | None, caller: Caller) -> None:
        if header is None or "*" in self._allowed:
            return
        try:
            origin = Origin.parse(header)
        except ValueError:
            raise ChatError(
                Code.FORBIDDEN, "A page with this Origin is not allowed; see --origin."
            ) from None
        if str(origin) in self._allowed or _same_origin(origin, caller):
            return
        self._tell(str(origin))
        raise ChatError(
            Code.FORBIDDEN,
            f"Pages of {origin} are not allowed; start chatd with --origin {origin}"
            " (or, behind a proxy, let it pass the Host on, or name it with --trusted-proxy)",
        )

    def _check_site(self, headers: Headers) -> None:
        """Refuse what a page of another site makes a browser request without an Origin: images,
        scripts, navigations by forms and links (Fetch Metadata)."""
        said = {one.strip().lower() for one in (headers("sec-fetch-site") or "").split(",")}
        if headers("origin") is None and said & _FOREIGN:
            raise ChatError(
                Code.FORBIDDEN,
                "A page of another site may not ask for this without an Origin that is allowed.",
            )

    def _tell(self, origin: str) -> None:
        """Log a refused origin: each once, and at most `TOLD` in all."""
        if origin not in self._told and len(self._told) < TOLD:
            self._told.add(origin)
            self._log.warn(
                "refused a page of {origin}; to let it in, start chatd with --origin {origin}",
                origin=origin,
            )

    def cors_headers(self, header: str | None) -> dict[str, str]:
        """The CORS headers (Fetch standard) of an answer to a request that passed `check`.

        A listed origin is echoed, with credentials, because ``GET /poll`` keeps its cursor in a
        cookie, and the operator named these pages. ``*`` goes without credentials. The cookie says
        where a poller stands and never who it is, so it gives no right either way.
        """
        if "*" in self._allowed:
            return {
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Expose-Headers": EXPOSED,
            }
        if not self._allowed:
            return {}
        headers = {"Vary": "Origin"}
        origin = self._listed(header)
        if origin is not None:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Allow-Credentials"] = "true"
            headers["Access-Control-Expose-Headers"] = EXPOSED
        return headers

    def preflight_headers(self, header: str | None, methods: Iterable[str]) -> dict[str, str]:
        """The headers of the answer to a preflight (OPTIONS) that passed `check`."""
        headers = self.cors_headers(header)
        if "Access-Control-Allow-Origin" in headers:
            headers["Access-Control-Allow-Methods"] = ", ".join(methods)
            headers["Access-Control-Allow-Headers"] = TAKEN
            headers["Access-Control-Max-Age"] = str(PREFLIGHT_AGE)
        return headers

    def _listed(self, header: str | None) -> str | None:
        # as the browser wrote it: it compares byte for byte
        try:
            listed = header is not None and normalise_origin(header) in self._allowed
        except ValueError:
            return None
        return header if listed else None


def _same_origin(origin: Origin, caller: Caller) -> bool:
    """Whether the Origin's host and port equal those of the Host header.

    A Host without a port means the default port of the request's scheme. Where a proxy that is not
    trusted may have ended TLS the scheme is unknown; then the Origin's scheme is assumed. That may
    be ``ws`` or ``wss``: no page has such an origin, but clients outside browsers make one of the
    address that they connect to (Starscream, and with it Socket.IO's on iOS).
    """
    if origin.scheme not in DEFAULT_PORTS or caller.host is None:
        return False
    try:
        host, port = split_host(caller.host)
    except ValueError:
        return False
    return host == origin.host and origin.port == (
        port or DEFAULT_PORTS[caller.scheme or origin.scheme]
    )
