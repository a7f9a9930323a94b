"""Which pages may speak to a running node, by which name, on every transport."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from twisted.logger import capturedLogs, formatEvent

from chatd.access.origins import TOLD
from tests.support.guarded import ADMIN_KEY, GuardedTests, bearing
from tests.support.http_client import Answer
from tests.support.routes import ADMINISTRATION, CLIENT, PAGES, Ask, reading, writing
from tests.support.serving import Node

LISTED = "https://chat.example.org"
ROUTES = [*PAGES, *reading("lobby"), *writing("lobby"), *ADMINISTRATION]
FORM = "application/x-www-form-urlencoded"


class OriginLiveTests(GuardedTests):
    async def head(self, node: Node, ask: Ask, **headers: str) -> Answer:
        """The head of an answer, and the body of a refusal."""
        http = await node.ask(ask.method, ask.path, ask.body, **headers)
        head = await http.head()
        if head.status < 400 or ask.method == "HEAD":
            http.raw.abort()
            return head
        return Answer(head.status, head.headers, await http.body(head))

    def origins(self, node: Node, port: str = "http") -> Mapping[str, int]:
        """Origins, and the status of a request to ``port`` from each, by default."""
        number = node.port(port)
        return {
            f"http://127.0.0.1:{number}": 200,
            f"HTTP://127.0.0.1:{number}": 200,
            f"http://localhost:{number}": 403,
            f"http://127.0.0.1:{number + 1}": 403,
            f"http://127.0.0.1:{number}.example.org": 403,
            "http://127.0.0.1": 403,
            LISTED: 403,
            "null": 403,
            "file://": 403,
            "": 403,
            f"http://127.0.0.1:{number}, {LISTED}": 403,
        }


class EveryRouteTests(OriginLiveTests):
    async def test_a_foreign_page_is_refused_everywhere(self) -> None:
        """Also where there is nothing, and where the method is wrong."""
        node = await self.serve(*self.locks())
        await node.service.chat.directory.create("doomed")
        await node.service.chat.directory.create("den", private=True)
        more = [Ask("GET", "/nothing"), Ask("PATCH", "/rooms"), Ask("OPTIONS", "/rooms/lobby")]
        for ask in [*ROUTES, *more]:
            for origin in ("https://evil.example.org", "null"):
                headers = {**bearing(ADMIN_KEY), "Origin": origin}
                answer = await self.head(node, ask, **headers)
                self.assertEqual(answer.status, 403, f"{ask} from {origin}")
                self.assertIsNone(answer.header("access-control-allow-origin"))
                if ask.method != "HEAD":
                    self.assertEqual(answer.code, "forbidden")
        rooms = {entry.name for entry in node.service.chat.directory}
        self.assertEqual(rooms, {"lobby", "den", "doomed"})
        kept = await node.get("/rooms/lobby/messages?last=9")
        self.assertEqual(kept.json["messages"], [])

    async def test_same_origin(self) -> None:
        node = await self.serve()
        for origin, status in self.origins(node).items():
            answer = await self.head(node, Ask("GET", "/rooms/lobby"), Origin=origin)
            self.assertEqual(answer.status, status, origin)

    async def test_listed_and_any(self) -> None:
        node = await self.serve("--origin", LISTED)
        for origin, status in ((LISTED, 200), (f"{LISTED}:443", 200), (f"{LISTED}:444", 403)):
            answer = await self.head(node, Ask("GET", "/rooms/lobby"), Origin=origin)
            self.assertEqual(answer.status, status, origin)
        node = await self.serve("--origin", "*")
        for origin in self.origins(node):
            answer = await self.head(node, Ask("GET", "/rooms/lobby"), Origin=origin)
            self.assertEqual(answer.status, 200, origin)

    async def test_the_same_for_websocket(self) -> None:
        """Pages of local files have the Origin null, or file:// in apps."""
        for listed in ((), ("--origin", LISTED), ("--origin", "*")):
            node = await self.serve(*listed)
            for path, port in (("/", "websocket"), ("/ws", "http")):
                for origin, status in self.origins(node, port).items():
                    allowed = status == 200 or origin in listed or "*" in listed
                    socket = await node.websocket(path, port, Origin=origin)
                    self.assertEqual(socket.status, 101 if allowed else 403, (listed, port, origin))
                    if not allowed:
                        self.assertIn("--origin", socket.answer.json["text"])
                    socket.raw.abort()

    async def test_the_refusal_says_what_to_do(self) -> None:
        node = await self.serve()
        answer = await node.get("/rooms/lobby", Origin=LISTED)
        self.assertIn(f"--origin {LISTED}", answer.json["text"])

    async def test_the_log_says_once_what_to_do(self) -> None:
        """One line for each origin, and not for as many as a stranger can make up."""
        node = await self.serve()
        with capturedLogs() as events:
            for _ in range(3):
                await node.get("/rooms/lobby", Origin=LISTED)
            for number in range(TOLD + 10):
                await node.get("/rooms/lobby", Origin=f"http://{number}.example")
        lines = [formatEvent(event) or "" for event in events]
        told = [line for line in lines if "--origin" in line]
        self.assertEqual(len([line for line in told if f"--origin {LISTED}" in line]), 1)
        self.assertEqual(len(told), TOLD)


class FetchMetadataTests(OriginLiveTests):
    """Images, scripts and navigations of other sites carry no Origin (Fetch Metadata)."""

    async def test_another_sites_page_reaches_the_page_and_its_files_only(self) -> None:
        node = await self.serve(*self.locks(), "--origin", LISTED)
        await node.service.chat.directory.create("doomed")
        await node.service.chat.directory.create("den", private=True)
        more = [Ask("GET", "/nothing"), Ask("PATCH", "/rooms"), Ask("OPTIONS", "/rooms/lobby")]
        closed = [Ask("GET", path) for path in ("/healthz", "/readyz", "/metrics")]
        everything = [*ROUTES, *more, *closed]
        files = [ask for ask in PAGES if ask not in closed]
        for site in ("cross-site", "same-site", "Cross-Site"):
            for ask in everything:
                answer = await self.head(node, ask, Sec_Fetch_Site=site, **bearing(ADMIN_KEY))
                self.assertEqual(answer.status, 200 if ask in files else 403, f"{ask} {site}")
            for path, port in (("/", "websocket"), ("/ws", "http")):
                socket = await node.websocket(path, port, Sec_Fetch_Site=site)
                self.assertEqual(socket.status, 403)
            answer = await self.head(
                node, Ask("GET", "/rooms/lobby"), Sec_Fetch_Site=site, Origin=LISTED
            )
            self.assertEqual(answer.status, 200)
        self.assertEqual({e.name for e in node.service.chat.directory}, {"lobby", "den", "doomed"})
        for site in ("same-origin", "none", ""):
            answer = await self.head(node, Ask("GET", "/rooms/lobby"), Sec_Fetch_Site=site)
            self.assertEqual(answer.status, 200, site)

    async def test_a_navigation_moves_no_pollers_cookie(self) -> None:
        for origin in ((), ("--origin", "*")):
            node = await self.serve(*origin)
            path = "/poll?roomname=lobby&username=ann"
            answer = await node.get(path, Sec_Fetch_Site="cross-site")
            self.assertEqual((answer.status, answer.header("set-cookie")), (403, None))


class CrossOriginTests(OriginLiveTests):
    """CORS (Fetch standard)."""

    async def test_any_page_may_load_the_client(self) -> None:
        """But ask nothing, and not load the page."""
        for node in (await self.serve(), await self.serve("--origin", LISTED)):
            page = (await node.get("/")).body.decode()
            [version] = set(re.findall(r"files/([0-9a-f]+)/chatd.js", page))
            kept = Ask("GET", f"/files/{version}/chatd.js")
            for ask in [*CLIENT, kept]:
                for origin in ("https://evil.example.org", "null", LISTED):
                    answer = await self.head(node, ask, Origin=origin)
                    self.assertEqual(answer.status, 200, f"{ask} from {origin}")
                    self.assertEqual(answer.header("access-control-allow-origin"), "*")
                    self.assertIsNone(answer.header("access-control-allow-credentials"))
            for method in ("POST", "PUT", "OPTIONS"):
                ask = Ask(method, "/chatd.js")
                answer = await self.head(node, ask, Origin="https://evil.example.org")
                self.assertEqual(answer.status, 403)

    async def test_answers(self) -> None:
        node = await self.serve("--origin", LISTED)
        for ask in [*ROUTES, Ask("GET", "/nothing"), Ask("GET", "/rooms/nowhere")]:
            answer = await self.head(node, ask, Origin=LISTED)
            self.assertEqual(answer.header("access-control-allow-origin"), LISTED, ask)
            self.assertEqual(answer.header("access-control-allow-credentials"), "true")
            self.assertIn("Origin", str(answer.header("vary")).split(", "))
        answer = await node.get("/rooms/lobby")
        self.assertIsNone(answer.header("access-control-allow-origin"))
        self.assertEqual(answer.header("vary"), "Origin")

    async def test_any(self) -> None:
        node = await self.serve("--origin", "*")
        answer = await node.get("/rooms/lobby", Origin=LISTED)
        self.assertEqual(answer.header("access-control-allow-origin"), "*")
        self.assertIsNone(answer.header("access-control-allow-credentials"))

    async def test_preflight(self) -> None:
        node = await self.serve("--origin", LISTED)
        for path, methods in (
            ("/rooms/lobby/messages", {"GET", "POST", "HEAD", "OPTIONS"}),
            ("/rooms/lobby/members/ann", {"PUT", "DELETE", "OPTIONS"}),
            ("/poll", {"GET", "POST", "HEAD", "OPTIONS"}),
        ):
            answer = await node.request(
                "OPTIONS",
                path,
                None,
                Origin=LISTED,
                Access_Control_Request_Method="POST",
                Access_Control_Request_Headers="authorization,content-type",
            )
            self.assertEqual((answer.status, answer.body), (204, b""))
            self.assertEqual(answer.header("access-control-allow-origin"), LISTED)
            allowed = answer.header("access-control-allow-methods") or ""
            self.assertEqual(set(allowed.split(", ")), methods)
            headers = (answer.header("access-control-allow-headers") or "").lower()
            for name in ("authorization", "content-type", "idempotency-key", "last-event-id"):
                self.assertIn(name, headers)
            self.assertEqual(answer.header("access-control-max-age"), "7200")

    async def test_event_streams(self) -> None:
        node = await self.serve("--origin", LISTED)
        stream = await node.events("/rooms/lobby/events", Origin=LISTED)
        self.assertEqual(stream.head.header("access-control-allow-origin"), LISTED)
        await node.post("/rooms/lobby/messages?username=ann", {"text": "x"}, Origin=LISTED)
        self.assertEqual((await stream.message()).data["text"], "x")


class FormTests(OriginLiveTests):
    """What a page may post to anyone without asking first."""

    async def test_foreign_posts(self) -> None:
        node = await self.serve()
        for type, body in (
            (FORM, "text=x"),
            ("text/plain", "x"),
            ("text/plain", json.dumps({"status": "message", "message": "x", "roomname": "lobby"})),
        ):
            for path in ("/rooms/lobby/messages?username=ann", "/poll?username=ann"):
                answer = await node.post(path, body, Content_Type=type, Origin="null")
                self.assertEqual((answer.status, answer.code), (403, "forbidden"))
        kept = await node.get("/rooms/lobby/messages?last=9")
        self.assertEqual(kept.json["messages"], [])

    async def test_posts_of_its_own(self) -> None:
        node = await self.serve()
        own = f"http://127.0.0.1:{node.port('http')}"
        for origin in ({}, {"Origin": own}):
            answer = await node.post(
                "/rooms/lobby/messages?username=ann", "text=x", Content_Type=FORM, **origin
            )
            self.assertEqual(answer.status, 201)


class WebSocketTests(OriginLiveTests):
    async def test_handshakes(self) -> None:
        node = await self.serve()
        for protocol in ("chatd.v1", None):
            for path, port in (("/?username=ann", "websocket"), ("/ws?username=ann", "http")):
                for origin, status in self.origins(node, port).items():
                    socket = await node.websocket(path, port, protocol, Origin=origin)
                    expected = 101 if status == 200 else status
                    self.assertEqual(socket.status, expected, (port, origin))
                    if status == 403:
                        self.assertEqual(socket.answer.code, "forbidden")
                    socket.raw.abort()

    async def test_listed(self) -> None:
        node = await self.serve("--origin", LISTED)
        for path, port in (("/", "websocket"), ("/ws", "http")):
            socket = await node.websocket(path, port, Origin=LISTED)
            self.assertEqual((await socket.receive())["type"], "welcome")
            other = await node.websocket(path, port, Origin="https://example.org")
            self.assertEqual(other.status, 403)


class HostTests(OriginLiveTests):
    async def test_by_default_on_loopback(self) -> None:
        node = await self.serve()
        for host, status in (
            ("localhost", 200),
            ("LOCALHOST:8081", 200),
            ("127.0.0.1:1", 200),
            ("[::1]:8081", 200),
            ("evil.example.org", 403),
            ("localhost.example.org", 403),
            ("127.0.0.1.example.org:8081", 403),
            ("", 403),
        ):
            answer = await self.head(node, Ask("GET", "/rooms/lobby"), Host=host)
            self.assertEqual(answer.status, status, host)
            for path, port in (("/", "websocket"), ("/ws", "http")):
                socket = await node.websocket(path, port, Host=host)
                expected = 101 if status == 200 else 403
                # Autobahn finds an empty one malformed before it asks
                self.assertIn(socket.status, (expected, 400 if not host else expected), host)
                socket.raw.abort()
        answer = await node.get("/rooms/lobby", Host="evil.example.org")
        self.assertIn("--host evil.example.org", answer.json["text"])

    async def test_a_rebound_page_reads_nothing(self) -> None:
        """Its Origin and its Host agree, for it gave itself a name that leads here."""
        node = await self.serve()
        host = f"evil.example.org:{node.port('http')}"
        for ask in ROUTES:
            answer = await self.head(node, ask, Host=host, Origin=f"http://{host}")
            self.assertEqual(answer.status, 403, ask)

    async def test_named(self) -> None:
        node = await self.serve("--host", "chat.example.org", "--origin", "https://page.example")
        for host, status in (
            ("chat.example.org", 200),
            ("page.example", 200),
            ("localhost", 403),
            ("127.0.0.1", 403),
        ):
            answer = await self.head(node, Ask("GET", "/rooms/lobby"), Host=host)
            self.assertEqual(answer.status, status, host)


class ProxyTests(OriginLiveTests):
    async def test_same_origin_behind_a_trusted_proxy(self) -> None:
        trusting = await self.serve("--trusted-proxy", "127.0.0.1/32", "--host", "*")
        wary = await self.serve("--host", "*")
        shown = {
            "X_Forwarded_For": "203.0.113.9",
            "X_Forwarded_Proto": "https",
            "X_Forwarded_Host": "chat.example.org",
        }
        for origin, status in ((LISTED, 200), ("http://chat.example.org", 403), ("null", 403)):
            ask = Ask("GET", "/rooms/lobby")
            answer = await self.head(trusting, ask, Origin=origin, **shown)
            self.assertEqual(answer.status, status, origin)
            answer = await self.head(wary, ask, Origin=origin, **shown)
            self.assertEqual(answer.status, 403, origin)
            for path, port in (("/", "websocket"), ("/ws", "http")):
                for node, expected in ((trusting, status), (wary, 403)):
                    socket = await node.websocket(path, port, Origin=origin, **shown)
                    self.assertEqual(socket.status, 101 if expected == 200 else 403)
                    socket.raw.abort()

    async def test_the_hosts_name_as_the_browser_sent_it_counts(self) -> None:
        node = await self.serve("--trusted-proxy", "127.0.0.1", "--host", "chat.example.org")
        for host, status in (("chat.example.org", 200), ("evil.example.org", 403)):
            ask = Ask("GET", "/rooms/lobby")
            answer = await self.head(node, ask, X_Forwarded_Host=host)
            self.assertEqual(answer.status, status)

    async def test_the_address_is_the_clients(self) -> None:
        node = await self.serve(
            "--trusted-proxy", "127.0.0.1", "--max-connections-per-address", "1"
        )
        first = await node.websocket("/", X_Forwarded_For="203.0.113.1")
        second = await node.websocket("/", X_Forwarded_For="203.0.113.2")
        third = await node.websocket("/", X_Forwarded_For="198.51.100.7, 203.0.113.1")
        self.assertEqual([s.status for s in (first, second, third)], [101, 101, 503])


class CookieTests(OriginLiveTests):
    """The cookie of ``GET /poll``."""

    async def cookie(self, node: Node, **headers: str) -> str:
        answer = await node.get("/poll?roomname=lobby&username=ann", **headers)
        self.assertEqual(answer.status, 200)
        given = (answer.header("set-cookie") or "").lower().split("; ")[1:]
        return "; ".join(sorted(given))

    async def test_by_whom_it_is_sent(self) -> None:
        node = await self.serve("--trusted-proxy", "127.0.0.1", "--origin", LISTED, "--host", "*")
        https = {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "rooms.example.com"}
        lax, secure = "httponly; samesite=lax", "httponly; samesite=lax; secure"
        self.assertEqual(await self.cookie(node), lax)
        self.assertEqual(await self.cookie(node, Origin=LISTED), lax)
        self.assertEqual(await self.cookie(node, **https), secure)
        self.assertEqual(
            await self.cookie(node, Origin="https://rooms.example.com", **https), secure
        )
        self.assertEqual(
            await self.cookie(node, Origin=LISTED, **https), "httponly; samesite=none; secure"
        )
