"""Whatever a stranger sends to any port: never a traceback in the log, never a server that stalls.

The real factories of a node, on transports in memory and a clock that the tests turn.
"""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chatd.config.options import Options
from chatd.tap import ChatService
from tests.support.pieces import JSONISH, cut

HANDSHAKE = (
    b"GET /ws?username=ann%s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n%s"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
V1 = HANDSHAKE % (b"", b"Sec-WebSocket-Protocol: chatd.v1\r\n")
LEGACY = HANDSHAKE % (b"&roomname=lobby", b"")
SID = "a-session-of-a-test"
ENGINE = b"/socket.io/?EIO=4&transport="
#: A session over WebSocket, and one that a WebSocket may take over.
CARRIED = V1.replace(b"/ws?", ENGINE + b"websocket&").replace(b"chatd.v1", b"x")
PROBE = CARRIED.replace(b"username=", b"sid=%b&username=" % SID.encode())

#: Words of the protocol and wrong ones, so that random objects get far.
_WORDS = """
join leave message typing auth status lobby nowhere ann 0:1 2026-11-01T12:00:00Z
create_room delete_room add_member remove_member
"""
_KEYS = """
type room text id data after last since token
status message username roomname op private secret
"""
WORDS = st.sampled_from([*_WORDS.split(), "", "a b", "\ud800", "x" * 20000])
KEYS = st.sampled_from(_KEYS.split())
VALUES: st.SearchStrategy[Any] = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
PLACES = st.sampled_from(["lobby", "nowhere"])
OBJECTS = st.builds(
    lambda near, far: json.dumps(near | far).encode(),
    # nearly right
    st.fixed_dictionaries(
        {"type": WORDS, "room": PLACES, "roomname": PLACES},
        optional={"text": WORDS, "message": WORDS, "username": WORDS, "op": WORDS, "last": VALUES},
    ),
    st.dictionaries(KEYS, VALUES, max_size=3),
)
BODIES = st.one_of(OBJECTS, JSONISH, st.binary(max_size=300))


def frame(payload: bytes, first: int = 0x81, mask: bool = True) -> bytes:
    """A WebSocket frame, right or wrong by its ``first`` byte."""
    bit = 0x80 if mask else 0
    size = len(payload)
    head = bytes([first, bit | min(size, 126)]) if size < 65536 else bytes([first, bit | 127])
    if size >= 126:
        head += size.to_bytes(2 if size < 65536 else 8)
    return head + (b"\0\0\0\0" if mask else b"") + payload


FRAMES = st.lists(
    st.one_of(
        BODIES.map(frame),
        st.builds(frame, BODIES, st.integers(0, 255), st.booleans()),
        st.binary(max_size=20),
    ),
    max_size=8,
).map(b"".join)
EVENTS = OBJECTS.map(
    lambda one: b'42["%s",%s]' % (str(json.loads(one)["type"]).encode("utf-8", "replace"), one)
)
PACKETS = st.one_of(
    EVENTS,
    st.sampled_from(
        [
            *(b"", b"1", b"2", b"3", b"2probe", b"5", b"6", b"40", b"41", b"40/x", b"bAQI="),
            *(b"421[]", b'451-["x"]', b'40{"token":7}', b'40{"username":"\\ud800"}', b"4\xff"),
        ]
    ),
    BODIES.map(lambda body: b"4" + body),
    BODIES,
)
PAYLOADS = st.lists(PACKETS, min_size=1, max_size=4).map(b"\x1e".join)
PATHS = st.sampled_from(
    (
        b"/ /ws /socket.io/ /socket.io /poll"
        b" /rooms /rooms/lobby /rooms/lobby/messages /rooms/lobby/events"
        b" /rooms/%ff/events /rooms/lobby/members/x * //x x http://[ /%"
    ).split()
)
QUERIES = st.sampled_from(
    (
        b"? ?username=ann ?after=x ?last=3 ?wait=1 ?%ff=%ff ?token=x.y.z ?&&== ?after=0:1"
        b" ?EIO=4&transport=polling ?EIO=4&transport=websocket ?EIO=4&transport=polling&sid=%00"
        b" ?username=ann&roomname=lobby ?since=0001-01-01T00:00:00%2B23:59"
    ).split()
)
HEADERS = st.sampled_from(
    b"""\
Host: localhost
Host: \xff
Host: [
Origin: null
Origin: http://[
Cookie: \xff
Connection: close
Authorization: Bearer \xff
Last-Event-ID: \xe9
Idempotency-Key: \xe9
If-None-Match: \xff
Expect: 100-continue
Content-Type: text/plain
Content-Type: \xff
Content-Type: multipart/form-data; boundary=
Content-Type: application/x-www-form-urlencoded
Content-Length: -1
Content-Length: x
Transfer-Encoding: chunked
Upgrade: websocket
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: x
X-Forwarded-For: \xff
:
""".split(b"\n")
)
REQUESTS = st.builds(
    lambda method, path, query, headers, body: (
        b"%s %s%s HTTP/1.1\r\n%s\r\nContent-Length: %d\r\n\r\n%s"
        % (method, path, query, b"\r\n".join(headers), len(body), body)
    ),
    st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"X", b"\xff"]),
    PATHS,
    QUERIES,
    st.lists(HEADERS, min_size=1, max_size=5),
    BODIES,
)


class Transport(StringTransport):
    """What a factory's connections write to."""

    aborted = False
    protocol: Any = None

    def loseWriteConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.aborted = True

    def resumeProducing(self) -> None:
        if not self.disconnecting:  # as `twisted.internet.tcp.Connection` has it
            super().resumeProducing()

    def getHandle(self) -> None:
        raise AttributeError


class StrangerTests(SynchronousTestCase):
    """Every port, fed with everything."""

    def setUp(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin with a node of its own."""
        options = Options({})
        options.parseOptions(
            ["--broker=memory:", "--websocket=off", "--http=off", "--setup=off", "--rate=1000/s"]
        )
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.service = ChatService(self.clock, options.config)
        self.service.broker.startService()
        self.service.node.startService()
        self.clock.advance(1)
        self.assertTrue(self.service.status.ready)

    def tearDown(self) -> None:
        self.service.node.stopService()
        self.service.broker.stopService()

    def meet(self, factory: Any, pieces: list[bytes]) -> bytes:
        """Connect, send ``pieces``, wait, hang up; what was answered."""
        address = IPv4Address("TCP", "127.0.0.1", 1)
        transport = Transport(hostAddress=address, peerAddress=address)
        transport.protocol = protocol = factory.buildProtocol(address)
        protocol.makeConnection(transport)
        for piece in pieces:
            if not (transport.disconnecting or transport.aborted):
                transport.protocol.dataReceived(piece)
                self.clock.advance(0)
        # in steps: a call that comes late is that of a node that stood still
        self.clock.pump([2.0] * 45)
        transport.protocol.connectionLost(Failure(ConnectionDone()))
        self.clock.pump([2.0] * 50)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.service.admission.connections.total, 0)
        self.assertEqual(self.service.chat.presence.local(), {})
        return bytes(transport.value())

    CUTS = st.lists(st.integers(0, 5000), max_size=4)
    EVERY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

    @EVERY
    @given(FRAMES, CUTS)
    def test_websocket(self, frames: bytes, places: list[int]) -> None:
        for handshake in (V1, LEGACY):
            answer = self.meet(self.service.ways.websockets, cut(handshake + frames, places))
            self.assertTrue(answer.startswith(b"HTTP/1.1 101"), answer)

    @EVERY
    @given(st.one_of(st.binary(max_size=200), REQUESTS), CUTS)
    def test_websocket_handshake(self, data: bytes, places: list[int]) -> None:
        self.meet(self.service.ways.websockets, cut(data, places))

    @EVERY
    @given(
        st.one_of(REQUESTS, st.lists(REQUESTS, max_size=3).map(b"".join), st.binary(max_size=200)),
        CUTS,
    )
    def test_http(self, data: bytes, places: list[int]) -> None:
        self.meet(self.service.ways.http, cut(data, places))

    @EVERY
    @given(FRAMES, CUTS)
    def test_websocket_on_the_http_port(self, frames: bytes, places: list[int]) -> None:
        answer = self.meet(self.service.ways.http, cut(V1 + frames, places))
        self.assertTrue(answer.startswith(b"HTTP/1.1 101"), answer)

    @EVERY
    @given(st.lists(PACKETS, max_size=6), CUTS)
    def test_socketio_over_websocket(self, packets: list[bytes], places: list[int]) -> None:
        data = b"".join(map(frame, [b"40", *packets]))
        answer = self.meet(self.service.ways.http, cut(CARRIED + data, places))
        self.assertTrue(answer.startswith(b"HTTP/1.1 101"), answer)

    @EVERY
    @given(st.lists(st.none() | PAYLOADS, max_size=6), st.booleans())
    def test_socketio_over_polling(self, asked: list[bytes | None], probes: bool) -> None:
        """Posts and polls (None) of one session, which in the end a WebSocket may take over."""

        def request(method: bytes, query: bytes, body: bytes) -> bytes:
            head = b"%s %spolling%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
            return head % (method, ENGINE, query, len(body)) + body

        mine = b"&sid=" + SID.encode()
        pieces = [request(b"GET", b"", b""), request(b"POST", mine, b"40")]
        pieces += [request(b"POST" if body else b"GET", mine, body or b"") for body in asked]
        if probes:
            pieces.append(PROBE + b"".join(map(frame, (b"2probe", b"5", *filter(None, asked)))))
        with mock.patch("chatd.transports.socketio.sessions.token_urlsafe", return_value=SID):
            answer = self.meet(self.service.ways.http, pieces)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200"), answer)

    @EVERY
    @given(st.one_of(JSONISH, st.lists(OBJECTS, max_size=3).map(b"".join), st.binary()), CUTS)
    def test_setup(self, data: bytes, places: list[int]) -> None:
        """The same answers, but for line ends, as in one piece."""
        answers = []
        for pieces in (cut(data, places), [data]):
            self.tearDown()
            self.start()
            answers.append(self.meet(self.service.ways.setup, pieces).replace(b"\n", b""))
        self.assertEqual(answers[0], answers[1])
