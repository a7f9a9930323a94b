"""The access log: who asked for what, and how it ended, on every transport; a request's id."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from chatd.amqp.codec import decode_properties
from chatd.brokers.rabbitmq.records import publish_properties
from chatd.telemetry.tracing import TRACE, trace_of
from tests.support.engine import PollingClient, SocketClient
from tests.support.serving import Node, ServingTests
from tests.support.waiting import until

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LINE = re.compile(
    r'(?P<address>\S+) - (?P<user>\S+) \[(?P<time>[^]]+)\] "(?P<what>[^"]*)" (?P<status>\d+)'
    r" (?P<size>\d+) (?P<seconds>[0-9.]+) (?P<code>\S+) (?P<id>\S+)"
)


class AccessLogTests(ServingTests):
    async def start(self, *options: str) -> Node:
        self.path = Path(self.mktemp())
        return await self.serve(f"--access-log={self.path}", *options)

    async def line(self, part: str) -> dict[str, str]:
        """The fields of the line that has ``part`` in it, once it is there."""

        def found() -> list[str]:
            lines = self.path.read_text().splitlines() if self.path.exists() else []
            return [line for line in lines if part in line]

        await until(lambda: bool(found()))
        match = LINE.fullmatch(found()[-1])
        assert match is not None, found()
        return match.groupdict()

    async def test_who_asked_behind_a_proxy(self) -> None:
        node = await self.start("--trusted-proxy=127.0.0.1")
        post = "/rooms/lobby/messages?username=ann&token=secret"
        await node.post(post, {"text": "hi"}, x_forwarded_for="192.0.2.7")
        line = await self.line("POST /rooms/lobby/messages")
        self.assertEqual(
            (line["address"], line["user"], line["status"], line["code"], line["what"]),
            ("192.0.2.7", "ann", "201", "-", "POST /rooms/lobby/messages HTTP/1.1"),
        )
        self.assertNotIn("secret", self.path.read_text())

    async def test_on_standard_output(self) -> None:
        self.path = Path(self.mktemp())
        with self.path.open("w") as output:
            self.patch(sys, "__stdout__", output)
            node = await self.serve("--access-log=-")
            await node.get("/rooms/lobby")
            line = await self.line("GET /rooms/lobby")
        self.assertEqual((line["status"], line["code"]), ("200", "-"))
        self.assertFalse(Path("-").exists())

    async def test_whom_the_gate_refused_behind_a_proxy(self) -> None:
        node = await self.start("--trusted-proxy=127.0.0.1")
        evil = {"origin": "https://evil.example", "x_forwarded_for": "192.0.2.7"}
        await node.get("/rooms/lobby", **evil)
        await node.websocket("/", **evil)
        for what in ("GET /rooms/lobby", "WEBSOCKET /"):
            line = await self.line(what)
            self.assertEqual((line["address"], line["code"]), ("192.0.2.7", "forbidden"))

    async def test_refusals(self) -> None:
        node = await self.start()
        await node.get("/rooms/nowhere")
        self.assertEqual((await self.line("/rooms/nowhere"))["code"], "unknown_room")
        await node.get("/rooms/lobby", origin="https://evil.example")
        self.assertEqual((await self.line("GET /rooms/lobby"))["code"], "forbidden")
        raw = await node.raw("http")
        raw.send(b"nonsense\r\n\r\n")
        self.assertEqual((await self.line('"-" 400'))["code"], "bad_request")

    async def test_who_hangs_up(self) -> None:
        """With the status of the answer if it had begun; else as nginx says it."""
        node = await self.start()
        cursor = (await node.get("/rooms/lobby")).json["cursor"]
        wait = f"username=ann&wait=20&after={cursor}"
        for head, status in (
            ("GET /rooms/lobby/events?username=ann", "200"),
            (f"GET /rooms/lobby/messages?{wait}", "499"),  # past twisted.web, and not
            (f"GET /poll?roomname=lobby&{wait}", "499"),
            ("POST /rooms/lobby/messages?username=ann", "499"),
        ):
            api, polls = node.service.ways.api, node.service.ways.polls
            raw = await node.raw("http")
            length = "Content-Length: 9\r\n" if head.startswith("POST") else ""
            raw.send(f"{head} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n".encode())
            await until(lambda: bool(api.leaving or polls.in_hand))
            if status == "200":
                await raw.until(b"presence")
            raw.abort()
            line = await self.line(head.partition("?")[0])
            self.assertEqual(line["status"], status)
            self.assertGreaterEqual(float(line["seconds"]), 0.0)
        await until(lambda: not api.leaving)
        self.assertEqual(self.path.read_text().count("\n"), 5)

    async def test_a_request_that_is_refused_late_is_logged_once(self) -> None:
        node = await self.start()
        raw = await node.raw("http")
        head = "POST /rooms/lobby/messages?username=ann HTTP/1.1\r\nHost: localhost\r\n"
        raw.send(f"{head}Content-Length: 9\r\n\r\nhalf".encode())
        await until(lambda: bool(node.service.ways.api.leaving))
        node.clock.advance(31)
        await raw.until(b"HTTP/1.1 408")
        raw.abort()
        await until(lambda: not node.service.ways.api.leaving)
        self.assertEqual(self.path.read_text().count("\n"), 1)

    async def test_websockets(self) -> None:
        node = await self.start()
        ann = await node.chat("ann", "lobby")
        await ann.receive()
        await node.hang_up()
        line = await self.line('"WEBSOCKET /"')
        self.assertEqual((line["user"], line["status"]), ("ann", "101"))
        await node.websocket("/x", origin="https://evil.example")
        line = await self.line('"WEBSOCKET /x"')
        self.assertEqual((line["status"], line["code"]), ("403", "forbidden"))

    async def test_socket_io(self) -> None:
        """Who a session turned out to be, on the connection that carried it."""
        node = await self.start()
        client = await PollingClient.open(node)
        await client.connect(username="ann")
        await client.upgrade()
        await SocketClient.open(node)
        await node.hang_up()
        line = await self.line('"WEBSOCKET /socket.io/"')
        self.assertEqual(line["status"], "101")
        await until(lambda: self.path.read_text().count('"WEBSOCKET /socket.io/"') == 2)
        self.assertEqual(self.path.read_text().count(" ann "), 1)

    async def test_the_set_up_port(self) -> None:
        node = await self.start()
        raw = await node.raw("setup")
        raw.send(b'{"roomname":"den"}\n')
        self.assertEqual((await self.line('"SETUP" 200'))["address"], "127.0.0.1")
        raw.send(b"garbage\n")
        self.assertEqual((await self.line('"SETUP" 400'))["code"], "bad_request")

    async def test_behind_the_proxy_protocol(self) -> None:
        """The client's address comes with its first bytes, after the connection has begun."""
        ports = [f"--{p}=haproxy:tcp:0:interface=127.0.0.1" for p in ("websocket", "setup")]
        node = await self.start(*ports)
        for port, said, line in (
            ("setup", b'{"roomname":"den"}\n', '"SETUP" 200'),
            ("setup", b"garbage\n", '"SETUP" 400'),
            ("websocket", b"garbage\r\n\r\n", '"WEBSOCKET -" 400'),
            ("websocket", b"GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n", '"WEBSOCKET -" 426'),
        ):
            raw = await node.raw(port)
            raw.send(b"PROXY TCP4 192.0.2.7 127.0.0.1 1 80\r\n" + said)
            self.assertEqual((await self.line(line))["address"], "192.0.2.7")

    async def test_the_id_of_a_request(self) -> None:
        node = await self.start()
        answer = await node.get("/rooms/nowhere")
        (id,) = answer.headers.getRawHeaders("X-Request-Id") or ()
        self.assertEqual((await self.line("/rooms/nowhere"))["id"], id)
        answer = await node.get("/rooms/lobby", traceparent=TRACEPARENT)
        self.assertEqual(answer.headers.getRawHeaders("X-Request-Id"), [TRACEPARENT[3:35]])
        for bad in ("", "x", TRACEPARENT.upper(), "00-" + 32 * "0" + TRACEPARENT[35:]):
            self.assertNotEqual(trace_of(bad), bad)
        made = trace_of(None)
        self.assertEqual(trace_of(made), made)

    async def test_json(self) -> None:
        node = await self.start("--log-format=json")
        await node.get("/rooms/nowhere")
        await until(lambda: self.path.exists() and "nowhere" in self.path.read_text())
        (line,) = (one for one in self.path.read_text().splitlines() if "nowhere" in one)
        shown = json.loads(line)
        self.assertEqual((shown["status"], shown["code"]), (404, "unknown_room"))

    async def test_a_file_that_is_moved_away(self) -> None:
        node = await self.start()
        await node.get("/rooms/one")
        await self.line("/rooms/one")
        self.path.rename(self.path.with_suffix(".1"))
        node.service.reloader.reload()
        await node.get("/rooms/two")
        await self.line("/rooms/two")
        self.assertNotIn("/rooms/one", self.path.read_text())

    def test_other_programs_get_the_trace(self) -> None:
        plain = decode_properties(publish_properties("id", 1000))
        self.assertIsNone(plain.get("headers"))
        before = TRACE.set(TRACEPARENT)
        traced = decode_properties(publish_properties("id", 1000))
        TRACE.reset(before)
        self.assertEqual(traced.pop("headers"), {"traceparent": TRACEPARENT})
        self.assertEqual(traced, plain)
