"""`chatd.transports.http.usual_poll`: what it reads as twisted.web would, and what it leaves to
twisted.web."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any
from unittest import TestCase

from twisted.internet.task import Clock

from chatd.access.admission import Admission
from chatd.access.budget import Unread
from chatd.access.fair_queue import FairQueue
from chatd.access.limits import Connections
from chatd.access.origins import OriginPolicy
from chatd.access.proxies import Proxies
from chatd.access.rate_limit import Rate
from chatd.access.rights import Rights
from chatd.protocol.cursors import Cursor
from chatd.timing.timer_wheel import TimerWheel
from chatd.timing.wall import WallClock
from chatd.transports.http.parameters import LIMIT, limit_of, start_of, wait_of
from chatd.transports.http.usual_poll import LINES, MOST, UsualPoll, judge

HEAD = (b"Host: localhost", b"Connection: keep-alive", b"Accept: */*")
QUERY = b"after=e1:7&wait=30&username=ann"


def request(query: bytes = QUERY, *lines: bytes, room: bytes = b"hall") -> bytes:
    """A poll; ``lines`` replace its headers."""
    first = b"GET /rooms/%s/messages?%s HTTP/1.1" % (room, query)
    return b"\r\n".join([first, *(lines or HEAD), b"", b""])


def admission(**more: Any) -> Admission:
    """The rules of a node in open mode."""
    clock = Clock()
    rights, some = Rights(clock, WallClock(clock)), Connections(9, 9)
    rest = TimerWheel(clock), FairQueue(clock, Rate(9)), Unread(9, clock), Rate(9), Rate(9)
    return Admission(clock, OriginPolicy(**more), rights, some, some, some, *rest)


def judged(data: bytes, rules: Admission | None = None) -> UsualPoll | None:
    return judge(data, "127.0.0.1", False, rules or admission())


class ReadTests(TestCase):
    def test_what_it_asks_for(self) -> None:
        found = judged(request(b"limit=9&after=e1:7&wait=2.5&username=Ann+Lee", room=b"caf%C3%A9"))
        assert found is not None
        asked = found.name, found.identity.user, found.limit, found.wait, found.address
        self.assertEqual(asked, ("café", "Ann Lee", 9, 2.5, "127.0.0.1"))
        self.assertEqual(found.what, "/rooms/caf%C3%A9/messages")

    def test_all_that_differ_by_the_cursor_only(self) -> None:
        rules = admission()
        found = judged(request(b"a=b&after=e1:7&wait=9"), rules)
        assert found is not None
        for text, cursor in (("e1:8", Cursor("e1", 8)), ("x%3A-1", Cursor("x", -1))):
            data = request(b"a=b&after=%s&wait=9" % text.encode())
            self.assertEqual(found.cursor(data, rules), cursor)
            self.assertEqual(found.head(text.encode()), data)

    def test_no_other(self) -> None:
        rules = admission()
        found = judged(request(), rules)
        assert found is not None
        for data in (
            request(room=b"tall"),
            request() * 2,
            request()[:-1],
            request(b"after=&wait=30&username=ann"),
            request(b"after=e1:7x:8&wait=30&username=ann"),
            request(b"after=e1:7&after=e1:8&wait=30&username=ann"),
            request(b"after=e1:7&wait=31&username=ann"),
            request(b"after=e1:7&wait=30&username=bob"),
            request(b"after=e1:7&wait=30&username=ann", *HEAD, b"Cookie: a=b"),
            request(b"last=1&after=e1:7&wait=30&username=ann"),
            request(b"after=e1:7 HTTP/1.1\r\nA: &wait=30&username=ann"),
            b"GET /rooms/hall/messages?after=&wait=30&username=ann HTTP/1.1\r\n\r\n",
        ):
            self.assertIsNone(found.cursor(data, rules), data)

    def test_other_rules(self) -> None:
        rules = admission()
        found = judged(request(), rules)
        assert found is not None
        rules.origin_policy = OriginPolicy()
        self.assertIsNone(found.cursor(request(), rules))

    def test_whom_a_trusted_proxy_speaks_for(self) -> None:
        rules = admission(proxies=Proxies([ip_network("127.0.0.0/8")]))
        found = judged(request(QUERY, *HEAD, b"X-Forwarded-For: 192.0.2.7"), rules)
        assert found is not None
        self.assertEqual((found.address, found.identity.network), ("192.0.2.7", "192.0.2.7"))

    def test_the_shortest_wait(self) -> None:
        self.assertIsNotNone(judged(request(b"after=e1:7&wait=1")))
        self.assertIsNone(judged(request(b"after=e1:7&wait=0.99")))

    def test_leaves_other_queries(self) -> None:
        for query in (
            b"wait=30",
            b"after=e1:7",
            b"after=e1:7&wait=0",
            b"after=e1:7&wait=0.5",
            b"after=e1:7&wait=x",
            b"after=e1:7&wait=30&limit=0",
            b"after=e1:7&wait=30&last=3",
            b"after=e1:7&wait=30&since=2026-01-01T00:00:00Z",
            b"after=e1:7&wait=30&before=e1:9",
            b"%61fter=e1:7&wait=30&after=e1:8",
            b"%61fter=e1:7&wait=30&after=e1:7",
            b"after=x&wait=30&after=e1:7",
            b"after=e1:7&wait=30&username=a%20%20b",
            b"after=e1:7&wait=30&username=%ff",
            b"after=e1:7&wait=30&x=\xe9",
            b"after=e1:7&wait=30&x=#",
            b"after=e1:7&wait=30" + b"&a=b" * 99,
        ):
            self.assertIsNone(judged(request(query)), query)

    def test_leaves_other_rooms(self) -> None:
        for room in (b"", b".", b"a/b", b"a%2Fb", b"%ff", b"a%20b", b"x" * 101, "é".encode()):
            self.assertIsNone(judged(request(room=room)), room)

    def test_leaves_other_requests(self) -> None:
        usual = request()
        self.assertIsNotNone(judged(usual))
        for before, after in (
            (b"GET", b"HEAD"),
            (b"GET", b"get"),
            (b"HTTP/1.1", b"HTTP/1.0"),
            (b" HTTP/1.1", b""),
            (b"/rooms", b"http://localhost/rooms"),
            (b"/messages", b"/events"),
            (b"/messages", b"/messages/"),
            (b"localhost", b"local host"),
            (b"localhost", b"evil.example\r\nHost: localhost"),
            (b"Host: localhost\r\n", b""),
            (b"keep-alive", b"close"),
            (b"keep-alive", b"keep-alive, close"),
            (b"keep-alive", b"keep-alive\r\nConnection: close"),
            (b"Accept:", b"Accept :"),
            (b"Accept:", b" Accept:"),
            (b"Accept:", b":"),
            (b"Accept: */*", b"Accept"),
            (b"*/*", b"\0"),
            (b"*/*", b"a\nb"),
            (b"*/*", b"a\rb"),
            (b"*/*", "é".encode()),
            (b"\r\n", b"\n"),
            (b"GET", b"\r\nGET"),
            (b"\r\n\r\n", b"\r\n\r\nG"),
            (b"\r\n\r\n", b"\r\n"),
        ):
            self.assertIsNone(judged(usual.replace(before, after)), after)

    def test_leaves_what_says_more(self) -> None:
        for line in (
            b"Content-Length: 0",
            b"Transfer-Encoding: chunked",
            b"expect: 100-continue",
            b"UPGRADE: websocket",
            b"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"Origin: https://evil.example",
            b"Sec-Fetch-Site: cross-site",
        ):
            self.assertIsNone(judged(request(QUERY, *HEAD, line)), line)

    def test_leaves_what_is_long(self) -> None:
        room = MOST - len(request(QUERY, *HEAD, b"A: "))
        self.assertIsNotNone(judged(request(QUERY, *HEAD, b"A: " + b"x" * room)))
        self.assertIsNone(judged(request(QUERY, *HEAD, b"A: x" + b"x" * room)))
        more = [b"A: b"] * (LINES - len(HEAD))
        self.assertIsNotNone(judged(request(QUERY, *HEAD, *more)))
        self.assertIsNone(judged(request(QUERY, *HEAD, *more, b"A: b")))


class Query:
    """A request for whose parameters it is asked."""

    def __init__(self, **given: str) -> None:
        self.query = given.get


class ParameterTests(TestCase):
    """`chatd.transports.http.parameters`, of which a usual poll has few."""

    def test_how_many(self) -> None:
        for given, limit in (
            ({}, LIMIT),
            ({"limit": "1000"}, 1000),
            ({"limit": "1001"}, 1000),
            ({"limit": "0"}, 0),
            ({"last": "7", "limit": "3"}, 7),
            ({"last": "0", "limit": "3"}, 3),
            ({"last": "0"}, LIMIT),
        ):
            asked = Query(**given)
            self.assertEqual(limit_of(asked, start_of(asked)), limit, given)

    def test_how_long(self) -> None:
        for given, wait in (({}, 0), ({"wait": "0.5"}, 0.5), ({"wait": "60.5"}, 60)):
            self.assertEqual(wait_of(Query(**given)), wait)

    def test_a_plus_in_a_time_may_have_become_a_space(self) -> None:
        times = (f"2026-01-02T04:04:05{zone}01:00" for zone in "+ ")
        self.assertEqual(*(start_of(Query(since=time)) for time in times))
