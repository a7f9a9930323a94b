"""Every refusal is counted by its code, and remembered for operators: who, what, why."""

from __future__ import annotations

from collections.abc import Mapping

from chatd.telemetry.metrics import Metrics
from chatd.telemetry.refusals import KEPT, TEXT, Refusal
from tests.support.engine import PollingClient
from tests.support.serving import Node, ServingTests
from tests.support.waiting import until

EVIL = {"origin": "https://evil.example"}


class RefusalTests(ServingTests):
    async def start(self, *options: str) -> Node:
        key = self.mktemp()
        with open(key, "w") as file:
            file.write("admin-key")
        return await self.serve("--trusted-proxy=127.0.0.1", f"--admin-key={key}", *options)

    def counted(self, node: Node, code: str) -> float:
        name = "chatd_errors_total"
        return node.service.metrics.registry.get_sample_value(name, {"code": code}) or 0.0

    async def check(
        self, node: Node, code: str, what: str, user: str = "", address: str = "192.0.2.7"
    ) -> Refusal:
        """One more refusal with ``code`` is the latest, and it is counted."""
        before = getattr(self, "before", {})
        await until(lambda: self.counted(node, code) > before.get(code, 0.0))
        self.before = {**before, code: before.get(code, 0.0) + 1}
        self.assertEqual(self.counted(node, code), self.before[code])
        latest = next(iter(node.service.metrics.refusals))
        found = (latest.code, latest.address, latest.what, latest.user)
        self.assertEqual(found, (code, address, what, user))
        self.assertTrue(latest.why)
        self.assertGreater(latest.time, 0)
        return latest

    async def test_requests_over_http(self) -> None:
        node = await self.start("--rate=1/s")
        cases: tuple[tuple[str, str, str, Mapping[str, str]], ...] = (
            ("unknown_room", "GET", "/rooms/nowhere", {}),
            ("bad_request", "GET", "/nothing", {}),
            ("bad_request", "DELETE", "/healthz", {}),
            ("bad_request", "GET", "/ws", {}),
            ("bad_request", "PUT", "/rooms/a", {"content-encoding": "gzip"}),
            ("bad_request", "GET", "/socket.io/", {}),
            ("forbidden", "GET", "/rooms/lobby", EVIL),
            ("forbidden", "GET", "/rooms/lobby", {"sec_fetch_site": "cross-site"}),
            ("unauthorized", "DELETE", "/rooms/lobby", {}),
            ("unauthorized", "GET", "/rooms", {"authorization": "Bearer guess"}),
        )
        for code, method, path, headers in cases:
            query = f"{path}?token=secret"
            await node.request(method, query, b"{}", x_forwarded_for="192.0.2.7", **headers)
            await self.check(node, code, f"{method} {path}")
        for refusal in node.service.metrics.refusals:
            self.assertNotIn("secret", str(refusal))
        path = "/rooms/lobby/messages"
        node.clock.hold()
        for _ in range(3):
            text = {"text": "hi"}
            await node.post(f"{path}?username=ann", text, x_forwarded_for="192.0.2.7")
        await self.check(node, "rate_limited", f"POST {path}", "ann")

    async def test_what_is_no_request(self) -> None:
        node = await self.start()
        raw = await node.raw("http")
        raw.send(b"nonsense\r\n\r\n")
        await self.check(node, "bad_request", "no request", address="127.0.0.1")
        setup = await node.raw("setup")
        setup.send(b'{"op": "dance"}\n')
        await self.check(node, "bad_request", "SETUP", address="127.0.0.1")

    async def test_sockets(self) -> None:
        node = await self.start("--max-connections-per-address=1")
        behind = {"x_forwarded_for": "192.0.2.7"}
        for port, path, what in (("websocket", "/", "WEBSOCKET /"), ("http", "/ws", "GET /ws")):
            await node.websocket(path, port, **EVIL, **behind)
            await self.check(node, "forbidden", what)
        ann = await node.websocket("/?username=ann", **behind)
        ann.send({"type": "join", "room": "nowhere"})
        await self.check(node, "unknown_room", "WEBSOCKET /", "ann")
        await node.websocket("/?username=bob", **behind)
        await self.check(node, "unavailable", "WEBSOCKET /", "bob")

    async def test_socket_io(self) -> None:
        node = await self.start()
        client = await PollingClient.open(node, username="ann")
        await client.connect()
        await client.emit("join", {"room": "nowhere"})
        await self.check(node, "unknown_room", "SOCKET.IO by polls", "ann", "127.0.0.1")


class MemoryTests(ServingTests):
    def test_what_is_kept_is_bounded_and_a_flood_drives_nobody_out(self) -> None:
        now = iter(range(1, 10_000))
        refusals = Metrics(lambda: next(now)).refusals
        refusals.add("forbidden", "192.0.2.7", "GET /a", "no")
        for number in range(3 * KEPT):
            refusals.add("bad_request", "192.0.2.8", f"GET /{'x' * 1000}{number}", "y" * 1000)
        flood, first = refusals
        self.assertEqual((flood.count, len(flood.what), len(flood.why)), (3 * KEPT, TEXT, TEXT))
        self.assertEqual((first.address, first.count, first.time), ("192.0.2.7", 1, 1))
        for number in range(KEPT):
            refusals.add("forbidden", f"192.0.2.{number}x", "GET /", "no")
        self.assertEqual(len(list(refusals)), KEPT)
