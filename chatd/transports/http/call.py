"""A request as handlers see it, what they answer, and the routes that lead to them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from chatd.access.admission import Admission
from chatd.access.identity import Identity
from chatd.access.proxies import Caller
from chatd.access.rights import NOBODY
from chatd.access.tokens import shown_token
from chatd.protocol.errors import ChatError
from chatd.transports.http.answer import Pieces
from chatd.transports.http.body import MediaType
from chatd.transports.http.request import LimitedRequest as Request
from chatd.transports.http.request import header

JSON = "application/json; charset=utf-8"
#: Bytes of a body that may take so long to parse that it waits in the queue.
LARGE = 16 * 1024

T = TypeVar("T")


@frozen
class Reply:
    """An answer: a JSON object, bytes of another media type, or what is made as it is taken."""

    status: int
    body: dict[str, Any] | bytes | Pieces = b""
    type: str = JSON
    headers: Mapping[str, str] = field(factory=dict)


@define(eq=False)
class Call:
    """One request, and who sent it. ``left`` is called when it is over, answered or not."""

    request: Request
    admission: Admission
    _left: Callable[[], None]
    #: Called at the same time, if set.
    release: Callable[[], None] | None = field(default=None, init=False)
    #: Set once the request was admitted.
    caller: Caller = field(init=False)
    #: The client has hung up: there is nobody left to answer.
    gone: bool = field(default=False, init=False)
    #: See `Route`; set once the route is found.
    refusal: Refusal | None = field(default=None, init=False)
    #: See `Route`; set from when the request may be judged until a handler has it.
    unheard: Callable[[Call], None] | None = field(default=None, init=False)
    #: The id of the message that is being published, once it is known.
    publishing: str | None = field(default=None, init=False)
    #: Who the caller is, once that is known.
    _identity: Identity = field(default=NOBODY, init=False)
    #: What is given up with the client.
    _doing: Deferred[Any] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.request.notifyFinish().addErrback(self._hung_up).addCallback(self._over)

    def _over(self, _: None) -> None:
        self._doing = None
        self._left()
        if self.release is not None:
            self.release()

    def _hung_up(self, _: Failure) -> None:
        self.gone = True
        if self._doing is not None:
            self._doing.cancel()

    def with_client(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """Do ``work``, and give it up if the client hangs up first."""
        self._doing = doing = Deferred.fromCoroutine(work)
        return doing.addErrback(self._given_up)

    def _given_up(self, failure: Failure) -> Failure:
        if self.gone:
            failure.cleanFailure()  # its frames refer to the connection, and to themselves
        return failure

    @property
    def too_many(self) -> str | None:
        """What is said where this connection is one too many, on which only probes are answered."""
        channel: Any = self.request.channel
        text: str | None = channel.too_many
        return text

    def note(self, code: str, why: str) -> None:
        """Count, and log, that the request is refused with ``code``."""
        request, policy = self.request, self.admission.origin_policy
        request.refusal = code
        if not request.address:  # it was not admitted
            peer = getattr(request.getClientAddress(), "host", None)
            request.address = policy.proxies.caller(peer, request.isSecure(), self.header).address
        request.site.metrics.refusals.add(code, request.address, request.what, why, request.asker)

    def query(self, name: str) -> str | None:
        """A parameter of the URL, decoded; the first one if given twice. No form changes it: the
        URL may be a proxy's, the form is the client's own."""
        return self.request.query.get(name)

    def cookie(self, name: str) -> str | None:
        """The value of a cookie; the first if there are several of that name, which is that of the
        longest path (RFC 6265, section 5.4): twisted.web would take the last."""
        return self.cookies().get(name)

    def cookies(self) -> dict[str, str]:
        """All cookies by name, in the order in which they came; see `cookie`. Who sends them puts
        the one first that it has kept for longest."""
        found: dict[str, str] = {}
        for cookies in self.request.requestHeaders.getRawHeaders(b"cookie", ()):
            for cookie in cookies.decode("latin-1").split(";"):
                name, equals, value = cookie.strip(" \t\n\r\x0b\x0c").partition("=")
                if equals:
                    found.setdefault(name, value)
        return found

    def header(self, name: str) -> str | None:
        """A header's value; several of one name joined by commas."""
        return header(self.request, name)

    @property
    def asks_for_head(self) -> bool:
        """Whether only the headers are asked for, which changes nothing (RFC 9110, section
        9.3.2)."""
        return self.request.method == b"HEAD"

    @property
    def token(self) -> str | None:
        """What the caller shows: ``Authorization: Bearer T``, else ``?token=T``."""
        return shown_token(self.header("authorization"), self.query("token"))

    def identify(self, legacy: bool = False, named: object = None) -> Identity:
        """Who the caller is; ``named`` is who the body says it is. See `Rights.identify`."""
        rights = self.admission.rights
        identity = rights.identify(self.token, rights.username(self.query), legacy, named)
        self.request.asker = identity.user
        self._identity = identity
        return identity.at(self.caller.address)

    async def body(self) -> bytes:
        """The whole body, once it has come and may be parsed; its size is checked, and whether the
        caller is still who it was: a body may take `chatd.transports.http.connection.REQUEST`
        seconds. The turn of the request was that of its head, and the last bytes of many bodies may
        come together."""
        request = self.request
        line, waits = request.channel.line, not request.body.is_complete
        raw = await request.body.whole(request.ask_for_body)
        if len(raw) > LARGE:
            await line.behind_others()
        elif waits:
            await line.next()
        if (why := self.admission.rights.withdrawn(self._identity)) is not None:
            raise why
        return raw

    def media_type(self) -> MediaType:
        """What the body is said to be."""
        return MediaType.parse(self.header("content-type"))


Handler = Callable[..., Coroutine[Any, Any, Reply | None]]
Refusal = Callable[[Call, ChatError], Reply | ChatError]


@frozen
class Route:
    """A path, ``{name}`` standing for a segment, and the handlers of its methods.

    ``refusals`` are how methods say what is 429 or 503 everywhere else: by an answer, or by an
    error that is told as everywhere.
    ``unheard`` are called where methods are refused, once the caller may ask, before the handler
    begins.
    What is ``linked`` any page may lead to, of whatever origin, and what is ``public`` it may read.
    ``others`` answers what has no method here, which else is 405. While the node drains, handlers
    of a route that ``drains`` see for themselves to what is refused. Of what is ``checked`` OPTIONS
    that is no preflight asks as GET does: it is what HAProxy's health checks use by default.
    """

    path: str
    methods: Mapping[str, Handler]
    refusals: Mapping[str, Refusal] = field(factory=dict)
    unheard: Mapping[str, Callable[[Call], None]] = field(factory=dict)
    public: bool = False
    linked: bool = False
    others: Handler | None = None
    drains: bool = False
    checked: bool = False

    @property
    def allow(self) -> list[str]:
        methods = list(self.methods)
        return [*methods, "HEAD", "OPTIONS"] if "GET" in methods else [*methods, "OPTIONS"]
