"""One HTTP request, which is handled as soon as its head is complete, before its body is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure
from twisted.web.http import _MalformedChunkedDataError
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from chatd.protocol.errors import Code
from chatd.telemetry.access_log import HUNG_UP
from chatd.transports.http.body import Body
from chatd.transports.http.head import BadHead, has_option, joined, one_value, origin_form, segments
from chatd.transports.pairs import Pairs

#: Pieces of a body, at most: a chunk costs as much as hundreds of other bytes.
PIECES = 4096
#: The headers of a request that its answer depends on, whatever it is.
FOR_ANSWERS = (b"origin", b"traceparent")


class LimitedRequest(Request):
    """A request that is rendered when its head is complete; the handler may wait for the body
    (`Body.whole`). `twisted.web.http.Request` would wait for the body, and parse it."""

    channel: Any
    site: Any
    code: int
    finished: bool
    requestHeaders: Any
    startedWriting: bool
    #: The segments of the path, still percent-encoded.
    postpath: list[bytes]
    #: The length of the body in bytes, None if the head does not say.
    declared: int | None = 0
    #: For the access log: who asks, as far as that is known, why it was refused, and since when, in
    #: the clock's seconds; and its trace, see `chatd.telemetry.tracing`.
    address = asker = refusal = trace = ""
    began = 0.0
    #: The bytes of the URL's query.
    raw_query = b""
    _query: Pairs | None = None
    _at_end: Callable[[], None] | None = None
    _client_ended = False
    _begun = False
    _continued = False
    _pieces = 0

    def __init__(self, channel: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(channel, *args, **kwargs)
        #: The body as it comes in.
        self.body = Body(channel.site.max_body)

    def gotLength(self, length: int | None) -> None:
        """See `twisted.web.http.Request`: the head is here. ``length`` is None if it is not said
        beforehand."""
        self.declared = length

    def begin(self, command: bytes, target: bytes, version: bytes) -> None:
        """The head is complete: check it, and render."""
        self._begun = True
        self.method, self.clientproto = command, version
        try:
            self.uri = origin_form(command, target, self.requestHeaders)
        except BadHead as error:
            self.channel.refuse(400, Code.BAD_REQUEST, str(error))
            return
        self.path, _, self.raw_query = self.uri.partition(b"?")
        self.prepath: list[bytes] = []
        self.postpath = segments(self.path)
        self.site = self.channel.site
        self.render(self.site.resource)

    def handed_over(self) -> None:
        """Another protocol has taken the connection: as a request this one is done, and holds no
        place of one any more."""
        waiting, self.notifications = self.notifications, []
        for done in waiting:
            done.callback(None)

    def forget_head(self) -> None:
        """Let go of the query and of all headers but those `FOR_ANSWERS`, which an answer that
        waits, or has no end, would keep for as long. Nothing may be asked of them any more."""
        all, self.requestHeaders = self.requestHeaders, Headers()
        for name in FOR_ANSWERS:
            if values := all.getRawHeaders(name):
                self.requestHeaders.setRawHeaders(name, values)
        self.uri, self.raw_query, self._query = self.path, b"", None

    @property
    def what(self) -> str:
        """Method and path; not the query, which may hold a token."""
        return f"{self.method.decode('latin-1')} {self.path.decode('latin-1')}"

    @property
    def headers(self) -> dict[str, str]:
        """All headers by name, in lower case, each as `header` gives it: for who asks for many."""
        return joined(self.requestHeaders)

    @property
    def query(self) -> Pairs:
        """The parameters of the URL. Raises `ChatError` bad_request if there are too many."""
        if self._query is None:
            self._query = Pairs.parse(self.raw_query)
        return self._query

    @property
    def lacks_length(self) -> bool:
        """Whether a body may follow that nothing tells the end of, and that would not be read (RFC
        1945, section 8.3)."""
        old = self.method == b"POST" and self.clientproto == b"HTTP/1.0"
        return bool(old and not self.requestHeaders.hasHeader(b"content-length"))

    @property
    def expects_continue(self) -> bool:
        """Whether the client still waits for 100 Continue before it sends the body. Whatever else
        it may expect is ignored (RFC 9110, section 10.1.1)."""
        if self._continued or self.clientproto != b"HTTP/1.1":
            return False
        return has_option(self.requestHeaders.getRawHeaders(b"expect", ()), b"100-continue")

    def ask_for_body(self) -> None:
        """Ask for what is missing of the body, if the client waits to be asked."""
        if self.expects_continue:
            self._continued = True
            self.channel.send_continue()

    def handleContentChunk(self, data: bytes) -> None:
        self.body.add(data)
        self._pieces += 1
        if self._pieces > PIECES:
            raise _MalformedChunkedDataError("too many chunks")

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """See `twisted.web.http.Request`: the request is complete."""
        self.body.complete()
        if not self._begun:
            self.begin(command, path, version)

    def write(self, data: bytes) -> None:
        if not self.startedWriting and not self._disconnected and not self.channel.goes_on:
            self.close_after()
        super().write(data)

    def close_after(self) -> None:
        """Close the connection once this is answered, and say so in the answer."""
        self.channel.persistent = False
        self.setHeader(b"Connection", b"close")

    def finish(self) -> None:
        self.body.discard()
        super().finish()
        self._at_end = None

    # -- the client --------------------------------------------------------------------------------

    def when_client_ends(self, call: Callable[[], None]) -> None:
        """Call ``call`` when the client closes its side, or now if it has: for answers without an
        end of their own."""
        self._at_end = call
        if self._client_ended:
            call()

    def client_ended(self) -> None:
        """The client has closed its side; it may still read the answer."""
        self._client_ended = True
        if self._at_end is not None:
            self._at_end()

    def cut_off(self) -> None:
        """The connection ends before the answer does."""
        if self._begun and not self.finished:
            self.code = self.code if self.startedWriting else HUNG_UP
            self.site.log(self)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self.body.lost()
        self._at_end = self.producer = None  # which refers to this


def header(request: LimitedRequest, name: str) -> str | None:
    """A request header, decoded; several of one name joined by commas."""
    values = request.requestHeaders.getRawHeaders(name.encode("ascii"))
    return one_value(values) if values else None
