"""How many connections there may be, and how long one may do nothing."""

from __future__ import annotations

from chatd.access.overflow import KEPT
from chatd.transports.http.connection import REQUEST, REST
from chatd.transports.setup.protocol import IDLE as SETUP_IDLE
from tests.support.http_client import HTTP
from tests.support.kernel import connections
from tests.support.limits import POST, LimitsTests
from tests.support.raw import Raw, reactor
from tests.support.serving import Node
from tests.support.waiting import pause, until


class ConnectionTests(LimitsTests):
    async def full(self, node: Node) -> None:
        """Nobody else gets in, on any transport; probes do."""
        for path, port in (("/", "websocket"), ("/ws", "http")):
            refused = await node.websocket(path, port)
            self.assertEqual((refused.status, refused.answer.code), (503, "unavailable"))
            self.assertGreater(int(refused.answer.header("retry-after") or 0), 0)
        for path in (
            "/rooms/lobby/events",
            "/rooms/lobby/messages?wait=5",
            "/poll?roomname=lobby&wait=5",
        ):
            answer = await node.get(path)
            self.assertEqual((answer.status, answer.code), (503, "unavailable"), path)
            self.assertGreater(int(answer.header("retry-after") or 0), 0)
        self.assertEqual(self.refused(node, "unavailable"), 5)
        for path in ("/healthz", "/readyz", "/metrics", "/rooms/lobby/messages"):
            self.assertEqual((await node.get(path)).status, 200, path)

    async def test_in_all(self) -> None:
        node = await self.serve("--max-connections", "3")
        socket = await node.websocket("/")
        stream = await node.events("/rooms/lobby/events")
        start = (await node.get("/rooms/lobby")).json["cursor"]
        path = f"/rooms/lobby/messages?after={start}&wait=60"
        poll = await node.ask("GET", path)
        counted = node.service.admission.connections
        await until(lambda: counted.total == 3)
        await self.full(node)
        for end in (socket.raw.abort, stream.close, poll.raw.abort):
            before = counted.total
            end()
            await until(lambda: counted.total == before - 1)
        again = await node.websocket("/")
        self.assertEqual(again.status, 101)

    async def silent(self, node: Node, port: str) -> list[Raw]:
        """As many connections that ask for nothing as there may be."""
        raws = [await node.raw(port) for _ in range(30)]
        await until(lambda: node.service.admission.sockets.total == 30)
        return raws

    async def test_connections_that_ask_for_nothing(self) -> None:
        """Twice as many as may hold something open, and a few; the next is cut at once."""
        node = await self.serve("--max-connections-per-address", "5")
        raws = await self.silent(node, "websocket")
        for raw in [await node.raw("websocket") for _ in range(3)]:
            self.assertEqual(await raw.rest(), b"")
        for refusal in node.service.metrics.refusals:
            self.assertRegex(refusal.why, "^Too many connections from your address")
        raws.pop().abort()
        await until(lambda: node.service.admission.sockets.total == 29)
        self.assertEqual((await node.websocket("/")).status, 101)

    async def test_probes_are_answered_whatever_the_limits(self) -> None:
        """And everything else is told that it must wait."""
        node = await self.serve("--max-connections-per-address", "5")
        raws = await self.silent(node, "http")
        for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 200)):
            answer = await node.get(path, connection="keep-alive")
            self.assertEqual((answer.status, answer.header("connection")), (status, "close"))
        for path in ("/", "/rooms/lobby", "/rooms/lobby/events", "/ws"):
            answer = await node.get(path)
            self.assertEqual((answer.status, answer.code), (503, "unavailable"), path)
            self.assertRegex(answer.json["text"], "^Too many connections from your address")
            self.assertGreaterEqual(int(answer.header("retry-after") or 0), 1)
        self.assertEqual((await node.websocket("/ws", "http")).status, 503)
        stream = await node.get("/rooms/lobby/events", accept="text/event-stream")
        self.assertIn(b"event: refused", stream.body)
        self.assertEqual(node.service.admission.sockets.total, 30)
        node.service.admission.sockets.limit = 30
        answer = await node.get("/rooms/lobby")
        self.assertRegex(answer.json["text"], "^The server has all the connections it may have")
        raws.pop().abort()
        await until(lambda: node.service.admission.sockets.total == 29)
        self.assertEqual((await node.get("/rooms/lobby")).status, 200)

    async def test_requests_in_hand(self) -> None:
        """Whoever has too many is told as of every other limit, an EventSource by an event."""
        node = await self.serve()
        node.service.admission.requests.per_address = 0
        for path in ("/", "/rooms/lobby", "/rooms/lobby/events"):
            answer = await node.get(path)
            self.assertEqual((answer.status, answer.code), (503, "unavailable"), path)
        stream = await node.get("/rooms/lobby/events", accept="text/event-stream")
        self.assertEqual(stream.status, 200)
        retry, event, data, *end = stream.body.splitlines()
        self.assertRegex(retry, rb"\Aretry: [0-9]+\Z")
        self.assertEqual((event, end), (b"event: refused", [b""]))
        self.assertIn(b'"code":"unavailable"', data)
        self.assertEqual(self.refused(node, "unavailable"), 4)

    async def test_what_is_beyond_the_limits_is_bounded_too(self) -> None:
        node = await self.serve("--max-connections-per-address", "5")
        await self.silent(node, "http")
        late = [await node.raw("http") for _ in range(KEPT + 10)]
        for raw in late[:10]:
            self.assertEqual(await raw.rest(), b"")
        for raw in late[10:]:  # which are not cut: all are answered
            raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertEqual((await HTTP(raw, "GET").answer()).status, 200)
            self.assertEqual(await raw.rest(), b"")
        idle = [await node.raw("http") for _ in range(KEPT)]
        await until(lambda: len(node.service.ways.http.overflow) == KEPT)
        node.clock.advance(REQUEST + 1)
        for raw in idle:
            self.assertEqual(await raw.rest(), b"")

    async def test_an_upgraded_connection_is_one(self) -> None:
        node = await self.serve("--max-connections-per-address", "5")
        for port in ("http", "websocket"):
            socket = await node.websocket("/ws", port)
            self.assertEqual((socket.status, node.service.admission.sockets.total), (101, 1))
            socket.raw.abort()
            await until(lambda: node.service.admission.sockets.total == 0)

    async def test_a_trusted_proxy_opens_as_many_as_it_likes(self) -> None:
        node = await self.serve(
            "--max-connections-per-address", "1", "--trusted-proxy", "127.0.0.1"
        )
        raws = [await node.raw("http") for _ in range(40)]
        await until(lambda: node.service.admission.sockets.total == 40)
        self.assertFalse(any(raw.lost for raw in raws))

    async def test_a_proxy_that_speaks_the_proxy_protocol_does_so_too(self) -> None:
        """Each of its connections is another client's, which it says later."""
        ports = [f"--{p}=haproxy:tcp:0:interface=127.0.0.1" for p in ("http", "websocket")]
        node = await self.serve("--max-connections-per-address", "1", *ports)
        for port in ("http", "websocket"):
            raws = [await node.raw(port) for _ in range(40)]
            await until(lambda: node.service.admission.sockets.total == 40)
            self.assertFalse(any(raw.lost for raw in raws))
            for raw in raws:
                raw.abort()
            await until(lambda: node.service.admission.sockets.total == 0)

    async def test_per_address(self) -> None:
        node = await self.serve("--max-connections-per-address", "1")
        await node.websocket("/")
        await self.full(node)

    async def test_a_stranger_does_not_shut_out_others(self) -> None:
        node = await self.serve(
            "--max-connections-per-address", "1", "--trusted-proxy", "127.0.0.1"
        )
        froms = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
        sockets = [await node.websocket("/", X_Forwarded_For=one) for one in froms]
        self.assertEqual([s.status for s in sockets], [101, 503, 101])


class TimeTests(LimitsTests):
    async def test_a_request_that_never_ends(self) -> None:
        """However steadily its bytes come."""
        node = await self.serve()
        for head in (b"GET /healthz HTTP/1.1\r\n", POST + b"Content-Length: 1000\r\n\r\n"):
            raw = await node.raw("http")
            raw.send(head)
            for _ in range(5):
                raw.send(b"x: y\r\n")
                await pause(0.002)
                node.clock.advance(REQUEST / 6)
                self.assertFalse(raw.lost)
            await pause(0.002)
            node.clock.advance(REQUEST / 6 + 1)
            answer = await HTTP(raw, "GET").answer()
            self.assertEqual((answer.status, answer.code), (408, "bad_request"))

    async def test_who_speaks_tls_is_answered_at_once(self) -> None:
        """Its hello has no line's end to wait for. Its client shows what is wrong, or tries again
        without TLS."""
        node = await self.serve()
        hello = bytes.fromhex("16030100c8010000c40303") + b"\0" * 190
        for port in ("http", "websocket"):
            raw = await node.raw(port)
            raw.send(hello)
            answer = await HTTP(raw, "GET").answer()
            self.assertEqual((answer.status, "TLS" in answer.json["text"]), (400, True))
            self.assertEqual(await raw.rest(), b"")

    async def test_a_second_request_that_never_ends(self) -> None:
        node = await self.serve()
        raw = await node.raw("http")
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await raw.until(b"}\n")
        raw.send(b"GET /healthz HTTP/1.1\r\n")
        await pause(0.01)
        node.clock.advance(REQUEST + 1)
        self.assertEqual((await HTTP(raw, "GET").answer()).status, 408)

    async def test_who_says_nothing(self) -> None:
        node = await self.serve()
        raw = await node.raw("http")
        await pause(0.01)
        node.clock.advance(REQUEST + 1)
        self.assertEqual(await raw.rest(), b"")

    async def test_who_has_asked_before(self) -> None:
        """Balancers and clients keep their connections for up to two minutes, and must be the first
        to close them."""
        self.assertGreater(REST, 120)
        node = await self.serve()
        raw = await node.raw("http")
        for _ in range(3):
            raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await raw.until(b"}\n")
            node.clock.advance(REST - 2)
            await pause(0.002)
        node.clock.advance(4)
        self.assertEqual(await raw.rest(), b"")

    async def test_a_waiting_poll_is_not_idle(self) -> None:
        node = await self.serve()
        start = (await node.get("/rooms/lobby")).json["cursor"]
        http = await node.ask("GET", f"/rooms/lobby/messages?after={start}&wait=60")
        await until(lambda: node.service.admission.connections.total == 1)
        node.clock.advance(59)
        await node.post("/rooms/lobby/messages?username=ann", {"text": "at last"})
        self.assertEqual((await http.answer()).json["messages"][0]["text"], "at last")

    async def test_a_refusal_that_is_not_taken_note_of(self) -> None:
        node = await self.serve()
        raw = await node.raw("http")
        raw.transport.pauseProducing()
        raw.send(b"nonsense\r\n\r\n")
        await until(lambda: self.refused(node, "bad_request") == 1)
        node.clock.advance(6)
        await until(lambda: not connections())

    async def test_a_refusal_after_which_the_client_ends_is_not_waited_for(self) -> None:
        node = await self.serve()
        node.clock.hold()
        raw = await node.raw("http")
        raw.transport.pauseProducing()
        raw.send(b"nonsense\r\n\r\n")
        await until(lambda: self.refused(node, "bad_request") == 1)
        (refused,) = node.connections()
        raw.end()
        await until(lambda: not refused.connected)

    async def test_handshakes_and_set_up(self) -> None:
        node = await self.serve()
        half = await node.raw("websocket")
        half.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        silent, quiet = await node.raw("setup"), await node.raw("setup")
        quiet.send(b'{"roomname":')
        await pause(0.01)
        node.clock.advance(12)
        await self.lost(half)
        node.clock.advance(SETUP_IDLE - 13)
        await pause(0.002)
        self.assertFalse(quiet.lost or silent.lost)
        node.clock.advance(3)
        self.assertEqual(await quiet.rest() + await silent.rest(), b"")

    async def test_a_set_up_request_that_never_ends(self) -> None:
        """However steadily its bytes come; a request every now and then keeps a connection open."""
        node = await self.serve()
        slow, steady = await node.raw("setup"), await node.raw("setup")
        slow.send(b'{"roomname":"lo')
        for _ in range(5):
            slow.send(b"o")
            steady.send(b'{"roomname":"lobby"}\n')
            self.assertEqual(await steady.until(b"\n"), b"200")
            node.clock.advance(SETUP_IDLE / 6)
            self.assertFalse(slow.lost)
        node.clock.advance(SETUP_IDLE / 6 + 1)
        await self.lost(slow)
        steady.send(b'{"roomname":"lobby"}\n')
        self.assertEqual(await steady.until(b"\n"), b"200")

    async def test_white_space_is_no_request(self) -> None:
        node = await self.serve()
        spaces, before = await node.raw("setup"), await node.raw("setup")
        for _ in range(5):
            for raw in (spaces, before):
                raw.send(b" \r\n\t")
            await pause(0.01)
            node.clock.advance(SETUP_IDLE / 6)
            self.assertFalse(spaces.lost or before.lost)
        before.send(b' {"roomname":')
        open = node.service.ways.setup.protocols
        await until(lambda: any(one._splitter.begun for one in open))
        node.clock.advance(SETUP_IDLE / 6 + 1)
        await self.lost(spaces)
        before.send(b'"lobby"}\n')
        self.assertEqual(await before.until(b"\n"), b"200")

    async def test_no_timer_for_each_connection(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann", "lobby")
        await node.get("/healthz")

        async def clients(number: int) -> None:
            for n in range(number):
                await node.chat(f"user{n}", "lobby")
                await node.events("/rooms/lobby/events")
                (await node.raw("http")).send(b"GET / HTTP/1.1\r\n")
                (await node.raw("setup")).send(b"{")

        def timers() -> int:
            return len([one for one in reactor.getDelayedCalls() if one.active()])

        await clients(2)
        await ann.say("lobby", "x")
        before = timers()
        await clients(20)
        await ann.say("lobby", "x")
        self.assertLess(timers(), before + 10)
