"""HTTP by twisted.web: one leaf resource that routes, and says every error in JSON.

Handlers are coroutines that take a `Call` and return a `Reply`, or None if they answer by
themselves. They begin when the head is here; only `Call.body` waits for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from chatd.access.admission import Admission
from chatd.access.fair_queue import Work
from chatd.access.limits import too_many
from chatd.access.proxies import Caller
from chatd.protocol.errors import AGAIN, ChatError, Code, bad_request
from chatd.protocol.json import dump
from chatd.service.chat import Chat
from chatd.telemetry.metrics import Metrics
from chatd.telemetry.tracing import TRACE, request_id, trace_of
from chatd.transports.http.answer import answer
from chatd.transports.http.body import NotSupported, too_large
from chatd.transports.http.call import Call, Reply, Route
from chatd.transports.http.paths import PathTree
from chatd.transports.http.request import LimitedRequest as Request
from chatd.transports.http.request import header
from chatd.transports.http.response_headers import common_headers
from chatd.transports.percent import unquoted_bytes

Headers = Mapping[str, str]

#: Methods that are handled as GET is, OPTIONS only where a route is `checked`.
_AS_GET = ("HEAD", "OPTIONS")


class Api(Resource):
    """The root of the HTTP port. ``unlimited`` paths answer whatever state the node is in."""

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        routes: list[Route],
        chat: Chat,
        admission: Admission,
        metrics: Metrics,
        unlimited: frozenset[str],
    ) -> None:
        super().__init__()
        self.serve(routes)
        self._chat = chat
        self._admission = admission
        self._metrics = metrics
        self._unlimited = unlimited
        #: Requests that are being done, and answers that are not yet written.
        self.in_hand = self.leaving = 0

    def serve(self, routes: list[Route]) -> None:
        """Have these ``routes``, and no others, from now on."""
        self._routes: PathTree[Route] = PathTree()
        for route in routes:
            self._routes.add(route.path, route)

    def drain(self, others: int) -> None:
        """Nothing: because of ``chat.draining`` new requests are refused, and each answer is the
        last on its connection."""

    def _left(self) -> None:
        self.leaving -= 1

    def render(self, request: Request) -> int:
        self.in_hand, self.leaving = self.in_hand + 1, self.leaving + 1
        request.trace = trace_of(header(request, "traceparent"))
        request.began = request.began or self._admission.clock.seconds()
        call = Call(request, self._admission, self._left)
        doing = Deferred.fromCoroutine(self._handle(call))
        doing.addErrback(self._failed, call)
        doing.addCallback(self._answer, call)
        return NOT_DONE_YET

    async def _handle(self, call: Call) -> Reply | None:
        request = call.request
        TRACE.set(request.trace)  # of this coroutine and what it calls
        peer, secure = getattr(request.getClientAddress(), "host", None), request.isSecure()
        method, path = request.method.decode("latin-1"), _path(request)
        found = self._routes.find(path)
        # what a page of another origin may lead to, or even read, if that is asked for
        linked = found is not None and found[0].linked and method in ("GET", "HEAD")
        public = linked and found is not None and found[0].public
        # before anything refuses: an EventSource takes any other answer as final
        call.refusal = found[0].refusals.get(method) if found is not None else None
        policy, headers = self._admission.origin_policy, request.headers.get
        call.caller = policy.check(peer, secure, headers, public, linked)
        # not before: a page of another origin may change nothing
        call.unheard = found[0].unheard.get(method) if found is not None else None
        del headers  # not for as long as a poll waits
        request.address = call.caller.address
        address, probe = call.caller.address, request.path.decode("latin-1") in self._unlimited
        await request.channel.line.turn(address, self._kind(call.caller) if probe else Work.REQUEST)
        if not probe:
            call.release = self._admission.requests.admit(address)
        _check_path(path)
        if found is None:
            raise _NotFound
        route, names = found
        if method == "OPTIONS" and (_is_preflight(request) or not route.checked):
            return self._options(request, route)
        handler = route.methods.get("GET" if method in _AS_GET else method, route.others)
        if handler is None:
            return _error(405, f"Use {' or '.join(route.methods)}.", Allow=", ".join(route.allow))
        if route.path not in self._unlimited:
            if not route.drains:
                self._chat.check_draining()
            if call.too_many is not None:
                raise too_many(call.too_many)
        self._check_body(call, taken=method in ("POST", "PUT"))
        call.unheard = None
        return await handler(call, *names)

    def _kind(self, caller: Caller) -> Work:
        """As what a probe counts: one that a trusted proxy sends for itself has no limit."""
        own = self._admission.origin_policy.proxies.trusts(caller.address)
        return Work.OWN_PROBE if own else Work.PROBE

    def _check_body(self, call: Call, taken: bool) -> None:
        """Judge a body by what the head says of it. One that is not ``taken`` is thrown away."""
        request = call.request
        if (request.declared or 0) > request.body.limit:
            raise too_large(request.body.limit)
        if not taken:
            request.body.discard()
        elif request.lacks_length:
            raise bad_request("A POST in HTTP/1.0 needs a Content-Length.")
        elif (call.header("content-encoding") or "identity").strip().lower() != "identity":
            raise NotSupported("Send the body as it is, without a Content-Encoding.")

    def _options(self, request: Request, route: Route) -> Reply:
        origin = header(request, "origin")
        headers = self._admission.origin_policy.preflight_headers(origin, route.allow)
        return Reply(204, headers={"Allow": ", ".join(route.allow), **headers})

    def _failed(self, failure: Failure, call: Call) -> Reply | None:
        error = failure.value
        if call.unheard is not None:
            call.unheard(call)
        if call.gone and isinstance(error, CancelledError):
            failure.cleanFailure()  # given up with its client; see `Call.with_client`
            return None
        if isinstance(error, _NotFound):
            return _error(404, "There is nothing at this path.")
        if isinstance(error, NotSupported):
            return _error(415, str(error))
        if isinstance(error, ChatError):
            return self._refused(error, call, error.code.http)
        # not the query: it may hold a token
        self._log.failure("A request failed: {path!r}", failure, path=call.request.path)
        # what was being published may have been stored, or not
        error = ChatError(Code.UNAVAILABLE, "The server failed.", id=call.publishing)
        return self._refused(error, call, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _refused(self, error: ChatError, call: Call, status: int) -> Reply:
        again = error.code in AGAIN
        if again and call.refusal is not None:
            said = call.refusal(call, error)
            if isinstance(said, Reply):
                call.note(error.code.word, error.text)
                return said
            error = said
        headers = {"Retry-After": str(error.retry or 1)} if again and status != 500 else {}
        if error.code is Code.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"  # RFC 6750, section 3
        body = error.frame()
        body.pop("room", None)  # the path says it
        return Reply(status, body, headers=headers)

    def _answer(self, reply: Reply | None, call: Call) -> None:
        self.in_hand -= 1
        if reply is None:
            return
        if isinstance(reply.body, dict) and reply.body.get("type") == "error":
            call.note(reply.body["code"], reply.body["text"])
        if call.gone:
            return
        request = call.request
        self._metrics.requests.labels(str(reply.status)).inc()
        begin(request, reply.status, reply.type, self._admission, reply.headers)
        if self._chat.draining:  # its next request is for another node
            request.close_after()
        if reply.status in (204, 304):  # no body, and no length of one (RFC 9110, section 8.6)
            request.responseHeaders.removeHeader(b"content-type")
            request.finish()
            return
        body = dump(reply.body) + b"\n" if isinstance(reply.body, dict) else reply.body
        if isinstance(body, bytes):
            request.setHeader(b"Content-Length", str(len(body)).encode("ascii"))
        answer(request, body)


def begin(request: Request, status: int, type: str, admission: Admission, headers: Headers) -> None:
    """Set the status and the headers every answer has; ``headers`` win."""
    request.setResponseCode(status, HTTPStatus(status).phrase.encode("ascii"))
    for name, value in common_headers(type, int(admission.rights.wall.read())).items():
        request.setHeader(name.encode("ascii"), value.encode("ascii"))
    if status >= HTTPStatus.BAD_REQUEST or header(request, "traceparent") is not None:
        request.setHeader(b"X-Request-Id", request_id(request.trace).encode("ascii"))
    own = admission.origin_policy.cors_headers(header(request, "origin"))
    if headers.get("Access-Control-Allow-Origin") == "*":
        own.pop("Access-Control-Allow-Credentials", None)  # they do not go together
    for name, value in own.items():
        request.setHeader(name.encode("ascii"), value.encode("latin-1"))
    for name, value in headers.items():
        if name == "Vary":
            request.responseHeaders.addRawHeader(name, value)
        else:
            request.setHeader(name.encode("ascii"), value.encode("latin-1"))


def _is_preflight(request: Request) -> bool:
    return header(request, "access-control-request-method") is not None


def _path(request: Request) -> list[str]:
    """The segments of a request's path; bytes that are not UTF-8 are lone surrogates in them."""
    return [unquoted_bytes(one).decode("utf-8", "surrogateescape") for one in request.postpath]


def _check_path(path: list[str]) -> None:
    """Raise `ChatError` bad_request for a path that was not UTF-8."""
    for segment in path:
        if not segment.isascii() and any("\udc80" <= c <= "\udcff" for c in segment):
            raise bad_request("The path is not UTF-8.")


class _NotFound(Exception):
    """No route has this path."""


def _error(status: int, text: str, **headers: str) -> Reply:
    body = {"type": "error", "code": Code.BAD_REQUEST.word, "text": text}
    return Reply(status, body, headers=headers)
