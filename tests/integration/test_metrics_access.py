"""Who may read what a node counts."""

from __future__ import annotations

from tests.support.guarded import ADMIN_KEY, GuardedTests, bearing
from tests.support.http_client import HTTP


class MetricsTests(GuardedTests):
    """Who may read what a node counts."""

    async def test_on_the_http_port(self) -> None:
        node = await self.serve(*self.locks())
        self.assertEqual((await node.get("/metrics")).status, 200)
        for header in (
            *("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"),
            *("X-Forwarded-Client-Cert", "X-Forwarded-Path", "X-Forwarded-Whatever"),
        ):
            for key, status in ((None, 403), ("guess", 403), (ADMIN_KEY, 200)):
                shown = bearing(key) if key else {}
                answer = await node.get("/metrics", **{header: "203.0.113.1"}, **shown)
                self.assertEqual(answer.status, status, (header, key))
        answer = await node.get("/metrics", Via="1.1 proxy")
        self.assertIn("--metrics", answer.json["text"])
        self.assertEqual((await node.get("/healthz", Via="1.1 proxy")).status, 200)

    async def test_on_a_port_of_their_own(self) -> None:
        node = await self.serve("--metrics", "tcp:0:interface=127.0.0.1")
        for path, status in (("/metrics", 200), ("/", 404), ("/rooms/lobby", 404), ("/ws", 404)):
            http = HTTP(await node.raw("metrics"), "GET")
            http.raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nVia: x\r\n\r\n".encode())
            self.assertEqual((await http.answer()).status, status, path)
        http = HTTP(await node.raw("metrics"), "GET")
        http.raw.send(b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        self.assertEqual((await http.answer()).status, 403)
