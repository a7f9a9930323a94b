"""TLS on all three ports of a running node, and ports that are Unix sockets."""

from __future__ import annotations

import gc
import json
import weakref
from typing import Any

from OpenSSL import SSL
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.error import ConnectionDone
from twisted.logger import formatEvent

from chatd.config.advice import EVERY
from chatd.net.certificates import IN_TIME
from chatd.net.tcp import LINGER
from tests.support.certificates import make_certificates
from tests.support.guarded import GuardedTests
from tests.support.http_client import HTTP, EventStream
from tests.support.kept import taken
from tests.support.kernel import buffered, connections
from tests.support.raw import Raw
from tests.support.serving import Node
from tests.support.tls import Lax
from tests.support.tls_ports import UPGRADE, TLSTests, end, reactor
from tests.support.waiting import pause, until
from tests.support.ws_client import WebSocket, welcome


class EveryPortTests(TLSTests):
    async def test_what_a_connection_was_is_free_when_it_has_ended(self) -> None:
        node = await self.tls()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        ann = await self.websocket(node, "/?username=ann", "websocket")
        await ann.join("lobby")
        [end] = node.connections()
        tls: Any = end.protocol
        parts = [weakref.ref(part) for part in (end, tls, tls.wrappedProtocol)]
        del end, tls
        ann.raw.abort()
        await until(lambda: not [part for part in parts if part() is not None])

    async def test_websocket(self) -> None:
        node = await self.tls()
        for path, port in (("/?username=ann", "websocket"), ("/ws?username=ann", "http")):
            own = f"https://localhost:{node.port(port)}"
            socket = await self.websocket(node, path, port, Origin=own)
            self.assertEqual(await socket.receive(), welcome("ann"))
            await socket.join("lobby")
            await socket.say("lobby", "x" * 10_000)
            socket.frame(b"\x03\xe8", 8)
            self.assertEqual((await socket.closed()).code, 1000)
            foreign = await self.websocket(node, path, port, Origin="https://localhost")
            self.assertEqual(foreign.status, 403)

    async def test_what_clients_offer_to_speak(self) -> None:
        """ALPN (RFC 7301): browsers and others offer HTTP/1.1 for wss, too, and curl may HTTP/1.0.
        The set-up port is no protocol that has a name there."""
        node = await self.tls()
        for port, offered, chosen in (
            ("http", [b"h2", b"http/1.1"], b"http/1.1"),
            ("http", [b"http/1.0"], b"http/1.0"),
            ("http", [b"h2"], None),
            ("websocket", [b"h2", b"http/1.1"], b"http/1.1"),
            ("websocket", [b"h2"], None),
            ("setup", [b"http/1.1"], b""),
        ):
            client = Lax(offers=offered)
            plain = TCP4ClientEndpoint(reactor, "127.0.0.1", node.port(port))
            raw = Raw()
            self.addCleanup(end, raw)
            await connectProtocol(wrapClientTLS(client, plain), raw)
            raw.send(b"nonsense\r\n\r\n")
            if chosen is None:
                self.assertEqual(await raw.rest(), b"")
                self.assertIn("no application protocol", str(raw.why.value))
            else:
                await raw.until(b"400 ")
                self.assertEqual(raw.transport._tlsConnection.get_alpn_proto_negotiated(), chosen)
        self.assertEqual(self.tracebacks(), [])

    async def test_who_speaks_no_tls_is_told_so(self) -> None:
        """Whatever else they send; what is no text gets no answer."""
        node = await self.tls()
        post = (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000
        )
        for port, sent, begins in (
            ("http", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 400 "),
            ("http", post, b"HTTP/1.1 400 "),
            ("websocket", b"G", b"HTTP/1.1 400 "),
            ("setup", b'{"roomname":"den"}\n', b"400 bad_request: This port speaks TLS.\n"),
            ("http", b"\0\0\0\0\0\0", b""),
        ):
            raw = await node.raw(port)
            raw.send(sent)
            said = await raw.rest()
            self.assertEqual(said[: len(begins)], begins)
            self.assertEqual(b"This port speaks TLS" in said, bool(begins))
        await until(lambda: not node.connections())
        refused = node.service.metrics.refusals.counter.labels("bad_request")
        self.assertEqual(refused._value.get(), 4)
        raw = await node.raw("http")
        raw.send(b"GET / HTTP/1.1\r\n\r\n")
        raw.transport.pauseProducing()
        await until(lambda: refused._value.get() == 5)
        raw.send(b"GET / HTTP/1.1\r\n\r\n")
        await pause(0.01)
        node.clock.advance(30)
        await until(lambda: not node.connections())
        self.assertEqual(refused._value.get(), 5, "it is told once")
        self.assertEqual(self.tracebacks(), [])

    async def test_long_poll_and_event_streams(self) -> None:
        node = await self.tls()
        http = await self.ask(node, "GET", "/rooms/lobby/events")
        stream = EventStream(http, await http.head())
        start = (await (await self.ask(node, "GET", "/rooms/lobby")).answer()).json["cursor"]
        path = f"/rooms/lobby/messages?after={start}&wait=60"
        waiting = await self.ask(node, "GET", path)
        await until(lambda: node.service.admission.connections.total == 2)
        said = await self.ask(node, "POST", "/rooms/lobby/messages?username=ann", {"text": "x"})
        self.assertEqual((await said.answer()).status, 201)
        self.assertEqual((await stream.message()).data["text"], "x")
        self.assertEqual((await waiting.answer()).json["messages"][0]["text"], "x")
        poll = await (await self.ask(node, "GET", "/poll?roomname=lobby&username=ann")).answer()
        self.assertIn("; Secure", poll.header("set-cookie") or "")

    async def test_polls_on_a_connection_that_is_kept(self) -> None:
        node = await self.tls()
        raw, sent = await self.dial(node, "http"), "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        start = (await (await self.ask(node, "GET", "/rooms/lobby")).answer()).json["cursor"]
        for text in ("x" * 10_000, "y"):
            raw.send(sent.format(f"/rooms/lobby/messages?after={start}&wait=60").encode())
            await until(lambda: node.service.ways.polls.in_hand == 1)
            await self.ask(node, "POST", "/rooms/lobby/messages?username=ann", {"text": text})
            answer = await HTTP(raw, "GET").answer()
            self.assertEqual([m["text"] for m in answer.json["messages"]], [text])
            start = answer.json["cursor"]

    async def test_set_up(self) -> None:
        node = await self.tls()
        raw = await self.dial(node, "setup")
        raw.send(b'{"roomname":"made"}\n{"roomname":"")}\n')
        self.assertEqual(await raw.until(b"\n"), b"200")
        self.assertRegex((await raw.rest()).decode(), "^400 bad_request: ")

    async def test_idle_set_up(self) -> None:
        """Closed in order, and cut soon after if the client does not answer that."""
        node = await self.tls()
        polite, deaf = [await self.dial(node, "setup") for _ in range(2)]
        for raw in (polite, deaf):
            raw.send(b'{"roomname":"made"}\n')
            self.assertEqual(await raw.until(b"\n"), b"200")
        deaf.transport.pauseProducing()
        node.clock.advance(62)
        self.assertEqual(await polite.rest(), b"")
        self.assertTrue(polite.why.check(ConnectionDone), polite.why)
        protocols = node.service.ways.setup.protocols
        await until(lambda: len(protocols) == 1)
        node.clock.advance(LINGER + 1)
        await until(lambda: not protocols)

    async def test_refusals(self) -> None:
        """They arrive whole, also while the client is still sending."""
        node = await self.tls("--max-frame", "16KB")
        raw = await self.dial(node, "http")
        head = b"POST /poll HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n"
        raw.send(head + b"x" * 900_000)
        answer = await HTTP(raw, "POST").answer()
        self.assertEqual((answer.status, answer.code), (413, "too_large"))
        await until(lambda: not connections())
        socket = await self.websocket(node, "/", "websocket")
        socket.raw.send(b"\x81\xff" + (1 << 40).to_bytes(8) + b"mask" + b"x" * 900_000)
        self.assertEqual((await socket.closed()).code, 1009)


class SlowReaderTests(TLSTests):
    """Its memory is bounded, and it misses nothing."""

    async def fill(self, node: Node, number: int) -> None:
        socket = await self.websocket(node, "/?username=ann", "websocket")
        for n in range(number):
            frame = {"type": "message", "room": "lobby", "text": f"{n} " + "x" * 10_000}
            socket.send({**frame, "id": str(n)})
        for _ in range(number):
            await socket.find("ack")
        socket.raw.abort()

    async def test_event_streams(self) -> None:
        node = await self.tls()
        http = await self.ask(node, "GET", "/rooms/lobby/events")
        stream = EventStream(http, await http.head())
        http.raw.transport.transport.pauseProducing()
        await self.fill(node, 600)
        await pause(0.05)
        self.assertLess(buffered(), 200_000)
        http.raw.transport.transport.resumeProducing()
        heard = [int((await stream.message()).data["text"].split()[0]) for _ in range(600)]
        self.assertEqual(heard, list(range(600)))

    async def test_websocket(self) -> None:
        node = await self.tls()
        socket = await self.websocket(node, "/?username=ben", "websocket")
        await socket.receive()
        await socket.join("lobby")
        socket.raw.transport.transport.pauseProducing()
        await self.fill(node, 600)
        await pause(0.05)
        self.assertLess(buffered(), 200_000)
        socket.raw.transport.transport.resumeProducing()
        heard = [int((await socket.find("message"))["text"].split()[0]) for _ in range(600)]
        self.assertEqual(heard, list(range(600)))


class BadHandshakeTests(TLSTests):
    async def test_old_versions(self) -> None:
        node = await self.tls()
        for port in ("websocket", "http", "setup"):
            for version, passes in ((SSL.TLS1_1_VERSION, False), (SSL.TLS1_2_VERSION, True)):
                raw = Raw()
                endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", node.port(port))
                await connectProtocol(wrapClientTLS(Lax(version), endpoint), raw)
                raw.send(b"{}\n" if port == "setup" else b"GET / HTTP/1.1\r\n\r\n")
                if passes:
                    await until(lambda: raw.received)
                    raw.abort()
                await until(lambda: raw.lost)
                self.assertEqual(bool(raw.received), passes, port)
        self.assertEqual(self.tracebacks(), [])

    async def test_garbage_and_plain_text(self) -> None:
        """On a TLS port, and TLS on plain ones: no traceback, and the connection ends."""
        node = await self.tls()
        plain = await self.serve()
        for sent in (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b'{"roomname":"made"}\n',
            bytes(range(256)),
        ):
            for port in ("websocket", "http", "setup"):
                raw = await node.raw(port)
                raw.send(sent)
                await raw.rest()
        hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(192)
        for port in ("websocket", "http", "setup"):
            raw = await plain.raw(port)
            raw.send(hello + b"\r\n\r\n")
            await pause(0.01)
            plain.clock.advance(31)
            await pause(0.01)
            plain.clock.advance(31)
            await raw.rest()
        self.assertEqual(self.tracebacks(), [])

    async def test_a_handshake_that_never_ends(self) -> None:
        node = await self.tls()
        raws = [await node.raw(port) for port in ("websocket", "http", "setup")]
        for raw in raws:
            raw.send(b"\x16\x03\x01\x02\x00")
        await pause(0.02)
        node.clock.advance(61)
        await pause(0.01)
        node.clock.advance(20)
        for raw in raws:
            await raw.rest()
        await until(lambda: not connections())


class ReloadTests(TLSTests):
    async def test_nobody_is_dropped(self) -> None:
        """SIGHUP itself is in ``test_reload``."""
        node = await self.tls()
        socket = await self.websocket(node, "/?username=ann", "websocket")
        await socket.receive()
        await socket.join("lobby")
        http = await self.ask(node, "GET", "/rooms/lobby/events")
        stream = EventStream(http, await http.head())
        old = self.files
        self.files = make_certificates(old.server_key.parent)
        node.service.reloader.reload()
        await socket.say("lobby", "still here")
        self.assertEqual((await stream.message()).data["text"], "still here")
        # trusts the new authority only
        again = await self.websocket(node, "/?username=ben", "websocket")
        self.assertEqual((await again.receive())["user"], "ben")

    async def test_a_certificate_that_expired_is_said_to(self) -> None:
        """Whoever forgot to put the renewed one in its place learns it from the log."""
        node = await self.tls()

        def warnings() -> list[str]:
            shown = [formatEvent(event) for event in self.events]
            return [line for line in shown if "expired on" in line]

        self.assertEqual(warnings(), [])
        self.files = make_certificates(self.files.server_key.parent, years=1)
        node.service.reloader.reload()
        file = self.files.server_certificate
        why = f"{file} expired on 2020-12-31 00:00:00+00:00; clients will refuse it"
        self.assertEqual(warnings(), [why])
        await self.tls()
        self.assertEqual(warnings(), [why, why])

    async def test_a_certificate_is_said_to_expire_in_time(self) -> None:
        """Once, while the node runs, and until it is replaced; the metric tells of it all along."""
        node = await self.tls()
        wall = node.service._wall
        (end,) = node.service._certificates.expiries().values()
        now, told = end - IN_TIME - 1.5 * EVERY, "expires on 2069-12-19 00:00:00+00:00; replace it"
        self.patch(wall, "seconds", lambda: now)
        for hours, times in ((1, 0), (1, 1), (2, 1)):
            for _ in range(hours):
                now += EVERY
                node.clock.advance(EVERY)
                await pause(0)
            shown = [line for line in map(formatEvent, self.events) if told in str(line)]
            self.assertEqual(len(shown), times)
        metrics = (await node.service.metrics.show()).decode()
        sample = f'_expiry_timestamp_seconds{{file="{self.files.server_certificate}"}} '
        self.assertEqual(float(metrics.partition(sample)[2].split("\n")[0]), end)


class UnixSocketTests(GuardedTests):
    async def test_all_ports(self) -> None:
        folder = self.folder()
        ports = ("websocket", "http", "setup")
        node = await self.serve(*(f"--{port}=unix:{folder / port}" for port in ports))
        shown = {"Host": "localhost", **UPGRADE}
        for path, port in (("/?username=ann", "websocket"), ("/ws?username=ann", "http")):
            socket = await WebSocket.open(await self.dial(node, folder / port), path, shown)
            self.assertEqual((await socket.receive())["user"], "ann")
            await socket.join("lobby")
            await socket.say("lobby", "hello")
        raw = await self.dial(node, folder / "http")
        raw.send(b"GET /rooms/lobby/messages?last=9 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        http = HTTP(raw, "GET")
        head = await http.head()
        body = json.loads(await raw.take(int(head.header("content-length") or 0)))
        self.assertEqual([m["text"] for m in body["messages"]], ["hello", "hello"])
        past_twisted_web, first = taken(node), body["messages"][0]["cursor"]
        path = f"/rooms/lobby/messages?after={first}&wait=9"
        raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        [message] = (await HTTP(raw, "GET").answer()).json["messages"]
        self.assertEqual((message["text"], past_twisted_web), ("hello", [True]))
        raw = await self.dial(node, folder / "http")
        raw.send(b"GET /rooms/lobby/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual((await HTTP(raw, "GET").head()).status, 200)
        raw = await self.dial(node, folder / "http")
        raw.send(b"nonsense\r\n\r\n")
        self.assertEqual((await HTTP(raw, "GET").answer()).status, 400)
        raw = await self.dial(node, folder / "setup")
        raw.send(b'{"roomname":"made"}\n')
        self.assertEqual(await raw.until(b"\n"), b"200")

    async def test_a_proxy_behind_one(self) -> None:
        folder = self.folder()
        options = [f"--http=unix:{folder / 'http'}", "--host=*", "--trusted-proxy=unix"]
        for given, status in ((options, 200), (options[:2], 403)):
            node = await self.serve(*given)
            raw = await self.dial(node, folder / "http")
            raw.send(
                b"GET /rooms/lobby HTTP/1.1\r\nHost: upstream\r\nConnection: close\r\n"
                b"Origin: https://chat.example.org\r\nX-Forwarded-Proto: https\r\n"
                b"X-Forwarded-Host: chat.example.org\r\n\r\n"
            )
            self.assertEqual((await HTTP(raw, "GET").answer()).status, status)
            await node.stop()

    async def dial(self, node: Node, path: Any) -> Raw:
        raw = Raw()
        self.addCleanup(end, raw)
        await connectProtocol(UNIXClientEndpoint(reactor, str(path)), raw)
        return raw
