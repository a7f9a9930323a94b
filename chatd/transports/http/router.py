"""HTTP by twisted.web: one leaf resource that routes, and says every error in JSON.

Handlers are coroutines that take a `Call` and return a `Reply`, or None if they answer by
themselves. They begin when the head is here; only `Call.body` waits for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from chatd.access.admission import Admission
from chatd.access.identity import Identity
from chatd.access.limits import too_many
from chatd.access.proxies import Caller
from chatd.access.tokens import shown_token
from chatd.access.turns import Work
from chatd.protocol.errors import AGAIN, ChatError, Code, bad_request
from chatd.protocol.json import dump
from chatd.service.chat import Chat
from chatd.telemetry.metrics import Metrics
from chatd.transports.http.answer import Pieces, answer
from chatd.transports.http.body import MediaType, NotSupported, too_large
from chatd.transports.http.paths import PathTree
from chatd.transports.http.request import LimitedRequest as Request
from chatd.transports.http.request import header

JSON = "application/json; charset=utf-8"

T = TypeVar("T")
Headers = Mapping[str, str]


@frozen
class Reply:
    """An answer: a JSON object, bytes of another media type, or what is made as it is taken."""

    status: int
    body: dict[str, Any] | bytes | Pieces = b""
    type: str = JSON
    headers: Mapping[str, str] = field(factory=dict)


@define(eq=False)
class Call:
    """One request, and who sent it."""

    request: Request
    door: Admission
    #: Set once the gate has let the request in.
    caller: Caller = field(init=False)
    #: The client has hung up: there is nobody left to answer.
    gone: bool = field(default=False, init=False)
    #: See `Route`; set once the route is found.
    refusal: Refusal | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.request.notifyFinish().addErrback(self._hung_up)

    def _hung_up(self, _: Failure) -> None:
        self.gone = True

    async def with_client(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work``, and give it up if the client hangs up first."""
        doing = Deferred.fromCoroutine(work)
        self.request.notifyFinish().addErrback(lambda _: doing.cancel())
        return await doing

    @property
    def too_many(self) -> bool:
        """Whether there are more connections than there may be, and this is one of them."""
        channel: Any = self.request.channel
        return bool(channel.too_many)

    def query(self, name: str) -> str | None:
        """A parameter of the URL, decoded; the first one if given twice. No form changes it: the
        URL may be a proxy's, the form is the client's own."""
        return self.request.query.get(name)

    def cookie(self, name: str) -> str | None:
        """The value of a cookie."""
        self.request.parseCookies()
        value = self.request.getCookie(name.encode("ascii"))
        return value.decode("latin-1") if value is not None else None

    def header(self, name: str) -> str | None:
        """A header's value; several of one name joined by commas."""
        return header(self.request, name)

    @property
    def token(self) -> str | None:
        """What the caller shows: ``Authorization: Bearer T``, else ``?token=T``."""
        return shown_token(self.header("authorization"), self.query("token"))

    def identify(self, legacy: bool = False, named: object = None) -> Identity:
        """Who the caller is; ``named`` is who the body says it is. See `Rights.identify`."""
        return self.door.rights.identify(self.token, self.query("username"), legacy, named)

    async def body(self) -> bytes:
        """The whole body, once it has come; its size is checked."""
        return await self.request.body.whole()

    def media_type(self) -> MediaType:
        """What the body is said to be."""
        return MediaType.parse(self.header("content-type"))


Handler = Callable[..., Coroutine[Any, Any, Reply | None]]
Refusal = Callable[[Call, ChatError], Reply | None]


@frozen
class Route:
    """A path, ``{name}`` standing for a segment, and the handlers of its methods.

    ``refusal`` is how GET says what else would be 429 or 503; None from it means as everywhere.
    What is ``linked`` any page may lead to, of whatever origin, and what is ``public`` it may read.
    ``others`` answers what has no method here, which else is 405.
    """

    path: str
    methods: Mapping[str, Handler]
    refusal: Refusal | None = None
    public: bool = False
    linked: bool = False
    others: Handler | None = None

    @property
    def allow(self) -> list[str]:
        methods = list(self.methods)
        return [*methods, "HEAD", "OPTIONS"] if "GET" in methods else [*methods, "OPTIONS"]


class Api(Resource):
    """The root of the HTTP port. ``unlimited`` paths answer whatever state the node is in."""

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        routes: list[Route],
        chat: Chat,
        door: Admission,
        metrics: Metrics,
        unlimited: frozenset[str],
    ) -> None:
        super().__init__()
        self._routes: PathTree[Route] = PathTree()
        for route in routes:
            self._routes.add(route.path, route)
        self._chat = chat
        self._door = door
        self._metrics = metrics
        self._unlimited = unlimited
        #: Requests that are being done, and answers that are not yet written.
        self.in_hand = self.leaving = 0

    def drain(self, others: int) -> None:
        """New requests are refused because of ``chat.draining``; nothing else is to be done."""

    def _left(self, _: object) -> None:
        self.leaving -= 1

    def render(self, request: Request) -> int:
        self.in_hand, self.leaving = self.in_hand + 1, self.leaving + 1
        request.notifyFinish().addBoth(self._left)
        call = Call(request, self._door)
        doing = Deferred.fromCoroutine(self._handle(call))
        doing.addErrback(self._failed, call)
        doing.addCallback(self._answer, call)
        return NOT_DONE_YET

    async def _handle(self, call: Call) -> Reply | None:
        request = call.request
        peer, secure = getattr(request.getClientAddress(), "host", None), request.isSecure()
        method = request.method.decode("latin-1")
        known = self._looked_at(request) if method in ("GET", "HEAD") else None
        public, linked = (known.public, known.linked) if known is not None else (False, False)
        call.caller = self._door.gate.check(peer, secure, call.header, public, linked)
        address, probe = call.caller.address, request.path.decode("latin-1") in self._unlimited
        await request.channel.line.turn(address, self._kind(call.caller) if probe else Work.REQUEST)
        if not probe:
            release = self._door.requests.admit(address)
            request.notifyFinish().addBoth(lambda _: release())
        route, names = self._find(request)
        if method == "OPTIONS":
            return self._options(request, route)
        handler = route.methods.get("GET" if method == "HEAD" else method, route.others)
        if handler is None:
            return _error(405, f"Use {' or '.join(route.methods)}.", Allow=", ".join(route.allow))
        call.refusal = route.refusal if method == "GET" else None
        if route.path not in self._unlimited:
            self._chat.check_draining()
            if call.too_many:
                raise too_many()
        self._check_body(call, taken=method in ("POST", "PUT"))
        return await handler(call, *names)

    def _kind(self, caller: Caller) -> Work:
        """As what a probe counts: one that a trusted proxy sends for itself has no limit."""
        own = self._door.gate.is_proxy(caller.address)
        return Work.OWN_PROBE if own else Work.PROBE

    def _check_body(self, call: Call, taken: bool) -> None:
        """Judge a body by what the head says of it. One that is not ``taken`` is thrown away."""
        request = call.request
        if (request.declared or 0) > request.body.limit:
            raise too_large(request.body.limit)
        if not taken:
            request.body.discard()
        elif (call.header("content-encoding") or "identity").strip().lower() != "identity":
            raise NotSupported("Send the body as it is, without a Content-Encoding.")

    def _looked_at(self, request: Request) -> Route | None:
        """What a page of another origin may lead to, or even read, if that is asked for."""
        segments = [unquote_to_bytes(one).decode("utf-8", "replace") for one in request.postpath]
        found = self._routes.find(segments)
        return found[0] if found is not None and found[0].linked else None

    def _find(self, request: Request) -> tuple[Route, list[str]]:
        try:
            segments = [unquote_to_bytes(one).decode("utf-8") for one in request.postpath]
        except UnicodeDecodeError:
            raise bad_request("The path is not UTF-8.") from None
        found = self._routes.find(segments)
        if found is None:
            raise _NotFound
        return found

    def _options(self, request: Request, route: Route) -> Reply:
        origin = header(request, "origin")
        headers = self._door.gate.preflight_headers(origin, route.allow)
        return Reply(204, headers={"Allow": ", ".join(route.allow), **headers})

    def _failed(self, failure: Failure, call: Call) -> Reply | None:
        error = failure.value
        if call.gone and isinstance(error, CancelledError):
            return None  # given up with its client
        if isinstance(error, _NotFound):
            return _error(404, "There is nothing at this path.")
        if isinstance(error, NotSupported):
            return _error(415, str(error))
        if not isinstance(error, ChatError):
            # not the query: it may hold a token
            self._log.failure("A request failed: {path!r}", failure, path=call.request.path)
            return Reply(
                500, {"type": "error", "code": Code.UNAVAILABLE.word, "text": "The server failed."}
            )
        again = error.code in AGAIN
        if again and call.refusal is not None and (reply := call.refusal(call, error)) is not None:
            self._metrics.errors.labels(error.code.word).inc()
            return reply
        headers = {"Retry-After": str(error.retry or 1)} if again else {}
        if error.code is Code.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"  # RFC 6750, section 3
        self._metrics.errors.labels(error.code.word).inc()
        body = error.frame()
        body.pop("room", None)  # the path says it
        return Reply(error.code.http, body, headers=headers)

    def _answer(self, reply: Reply | None, call: Call) -> None:
        self.in_hand -= 1
        if reply is None or call.gone:
            return
        request = call.request
        self._metrics.requests.labels(str(reply.status)).inc()
        begin(request, reply.status, reply.type, self._door, reply.headers)
        if reply.status in (204, 304):  # no body, and no length of one (RFC 9110, section 8.6)
            request.responseHeaders.removeHeader(b"content-type")
            request.finish()
            return
        body = dump(reply.body) + b"\n" if isinstance(reply.body, dict) else reply.body
        if isinstance(body, bytes):
            request.setHeader(b"Content-Length", str(len(body)).encode("ascii"))
        answer(request, body)


def begin(request: Request, status: int, type: str, door: Admission, headers: Headers) -> None:
    """Set the status and the headers every answer has; ``headers`` win."""
    request.setResponseCode(status, HTTPStatus(status).phrase.encode("ascii"))
    request.setHeader(b"Content-Type", type.encode("ascii"))
    request.setHeader(b"Cache-Control", b"no-store, no-transform")
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    own = door.gate.cors_headers(header(request, "origin"))
    if headers.get("Access-Control-Allow-Origin") == "*":
        own.pop("Access-Control-Allow-Credentials", None)  # they do not go together
    for name, value in own.items():
        request.setHeader(name.encode("ascii"), value.encode("latin-1"))
    for name, value in headers.items():
        if name == "Vary":
            request.responseHeaders.addRawHeader(name, value)
        else:
            request.setHeader(name.encode("ascii"), value.encode("latin-1"))


class _NotFound(Exception):
    """No route has this path."""


def _error(status: int, text: str, **headers: str) -> Reply:
    body = {"type": "error", "code": Code.BAD_REQUEST.word, "text": text}
    return Reply(status, body, headers=headers)
