"""The request that nearly every poll is, read without twisted.web: whole, without a body, after a
cursor, and with nothing in its head that needs more than a look.

twisted.web makes four objects with thirty attributes of each request, and a poller's requests
differ by their cursor only. So what was found out about one, who asks and for what, holds for the
next on the same connection, as long as the rules it was judged by are in force. Every other
request, and every refusal, is left to twisted.web.
"""

from __future__ import annotations

import re

from attrs import define, field, frozen
from twisted.web.http_headers import Headers

from chatd.access.admission import Admission
from chatd.access.identity import Identity
from chatd.access.origins import OriginPolicy
from chatd.access.tokens import TokenKeys, shown_token
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError
from chatd.protocol.names import room_name
from chatd.transports.http.head import BadHead, check_host, joined
from chatd.transports.http.parameters import before_of, limit_of, start_of, wait_of
from chatd.transports.pairs import Pairs
from chatd.transports.percent import unquoted_bytes

#: How every request begins that may be one.
BEGINNING = b"GET /rooms/"
#: Bytes and lines of a head; twisted.web may have more.
MOST, LINES = 8 * 1024, 64
#: Seconds that it waits, at least: a timer that is coarse and cheap ends it.
WAIT = 1.0

_CURSOR = rb"[0-9A-Za-z]{1,32}(?::|%3A)(?:-1|[0-9]{1,18})"
_LINE = re.compile(
    rb"GET (/rooms/([0-9A-Za-z_.:@%-]+)/messages)\?([0-9A-Za-z._~%!$'()*+,;:@/?=&-]+) HTTP/1\.1"
)
_AFTER = re.compile(rb"(?:\A|&)after=(" + _CURSOR + rb")(?=&|\Z)")
_ONE_CURSOR = re.compile(_CURSOR)
#: A header's name is a token, and its value what is printed (RFC 9110, section 5).
_TOKEN, _PRINTED = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"), re.compile(rb"[ -~]*")
#: Headers that say more than a look takes in: of a body, of another protocol, of what is to be
#: sent before the answer, of the trace that is to be passed on.
_MORE = {b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"traceparent"}


@frozen
class UsualPoll:
    """A poll that was judged, and all that are like it but for the cursor.

    ``before`` and ``rest`` are the bytes around the cursor; ``address`` is the client's, ``what``
    the path, ``cors`` the CORS headers of its answer. ``wait`` is in seconds."""

    before: bytes = field(repr=False)
    rest: bytes = field(repr=False)
    what: str
    name: str
    identity: Identity
    limit: int
    wait: float
    address: str
    cors: tuple[tuple[str, str], ...]
    _policy: OriginPolicy
    _tokens: TokenKeys | None

    def cursor(self, data: bytes, admission: Admission) -> Cursor | None:
        """The cursor in ``data`` if that is such a poll, and would be judged alike now; else
        None."""
        if not (data.startswith(self.before) and data.endswith(self.rest)):
            return None
        cursor = _ONE_CURSOR.fullmatch(data, len(self.before), len(data) - len(self.rest))
        rights = admission.rights
        if (
            cursor is None
            or self._policy is not admission.origin_policy
            or self._tokens is not rights.tokens
            or (self.identity.expires is not None and rights.withdrawn(self.identity) is not None)
        ):
            return None
        return read_cursor(cursor[0])

    def head(self, cursor: bytes) -> bytes:
        """The bytes of such a poll."""
        return self.before + cursor + self.rest


def read_cursor(text: bytes) -> Cursor:
    """The cursor in a query."""
    return Cursor.parse(text.replace(b"%3A", b":").decode("ascii"))


def judge(data: bytes, peer: str | None, secure: bool, admission: Admission) -> UsualPoll | None:
    """The usual poll that ``data`` is; None if it is not one, or would be refused. ``peer`` and
    ``secure`` are as in `OriginPolicy.check`."""
    if len(data) > MOST or not data.endswith(b"\r\n\r\n"):
        return None
    line, _, block = data[:-4].partition(b"\r\n")
    policy, rights = admission.origin_policy, admission.rights
    try:
        asked, headers = _Asked.parse(line), _headers(block)
        caller = policy.check(peer, secure, headers.get)
        token = shown_token(headers.get("authorization"), asked.query("token"))
        identity = rights.identify(token, rights.username(asked.query)).at(caller.address)
    except (_Unusual, BadHead, ChatError, UnicodeDecodeError):
        return None
    begin, end = asked.place
    cors = policy.cors_headers(headers.get("origin"))
    return UsualPoll(
        data[:begin],
        data[end:],
        asked.what,
        asked.name,
        identity,
        asked.limit,
        asked.wait,
        caller.address,
        tuple(cors.items()),
        policy,
        rights.tokens,
    )


class _Unusual(Exception):
    """The request is not a usual poll."""


@define
class _Asked:
    """What the first line of a usual poll asks for. ``place`` is where its cursor begins and
    ends."""

    what: str
    place: tuple[int, int]
    _pairs: Pairs
    name: str = ""
    limit: int = 0
    wait: float = 0.0

    @classmethod
    def parse(cls, line: bytes) -> _Asked:
        """Read the line. Raises `_Unusual`, `ChatError` or UnicodeDecodeError."""
        match = _LINE.fullmatch(line)
        after = _AFTER.search(match[3]) if match is not None else None
        if match is None or after is None:
            raise _Unusual
        path, room, query = match.groups()
        if Pairs.parse(query[: after.start()]).get("after") is not None:
            raise _Unusual  # the first one counts
        place = match.start(3) + after.start(1), match.start(3) + after.end(1)
        asked = cls(path.decode("ascii"), place, Pairs.parse(query))
        start = start_of(asked)
        asked.limit, asked.wait = limit_of(asked, start), wait_of(asked)
        if before_of(asked) is not None or asked.wait < WAIT or not asked.limit:
            raise _Unusual
        asked.name = room_name(unquoted_bytes(room).decode("utf-8"))
        return asked

    def query(self, name: str) -> str | None:
        """See `chatd.transports.http.parameters.Asking`."""
        return self._pairs.get(name)


def _headers(block: bytes) -> dict[str, str]:
    """The headers in the lines of ``block`` by name, in lower case. Raises `_Unusual` or `BadHead`
    unless all are well formed and plain."""
    lines, headers = block.split(b"\r\n"), Headers()
    if len(lines) > LINES:
        raise _Unusual
    for line in lines:
        name, colon, value = line.partition(b":")
        value = value.strip(b" \t")
        well_formed = colon and _TOKEN.fullmatch(name) and _PRINTED.fullmatch(value)
        if not well_formed or not _plain(name.lower(), value.lower()):
            raise _Unusual
        headers.addRawHeader(name, value)
    check_host(headers.getRawHeaders(b"host", ()), b"HTTP/1.1")
    return joined(headers)


def _plain(name: bytes, value: bytes) -> bool:
    return value == b"keep-alive" if name == b"connection" else name not in _MORE
