"""The same request to a port whose usual polls go past twisted.web, and to one where none does."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from chatd.access.identity import Identity
from chatd.transports.http.site import LimitedSite
from tests.fuzz.ports import PASSES, FuzzedNode, connected

#: What stands in inputs for the newest message's cursor, and for the one before it.
NOW, BEFORE = b"NOW", b"BEFORE"
#: What differs between two answers to the same.
_OWN = re.compile(rb"(?m)^(Date|X-Request-Id): [^\r]*\r$")

SEEDS = (
    b"GET /rooms/lobby/messages?after=NOW&wait=30 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /rooms/lobby/messages?username=ann&limit=2&after=BEFORE&wait=5 HTTP/1.1\r\n"
    b"Host: [::1]:1\r\nConnection: keep-alive\r\nAccept: */*\r\nOrigin: http://[::1]:1\r\n\r\n",
    b"GET /rooms/lob%62y/messages?token=a.b.c&wait=2.5&after=a:1&x=%41 HTTP/1.1\r\nHost: a\r\n"
    b"X-Forwarded-For: 192.0.2.7\r\nSec-Fetch-Site: same-origin\r\nCookie: a=b\r\n\r\n",
)
WORDS = (
    b"after=",
    b"&after=NOW",
    b"%61fter=NOW&",
    b"before=NOW&",
    b"wait=0&",
    b"\r\nHost: b",
    b"\r\nConnection: close",
    b"\r\nContent-Length: 1",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nExpect: 100-continue",
    b"\r\n folded",
    b"\r\n",
    b" ",
    b"\t",
    b"\0",
)


class Differs(AssertionError):
    """The two answers do."""


class ComparedNode(FuzzedNode):
    """A node whose HTTP port has a twin, on which all requests go through twisted.web."""

    def __init__(self) -> None:
        super().__init__()
        #: How many inputs were answered past twisted.web, or waited so.
        self.taken = 0

    def _begin(self) -> None:
        super()._begin()
        service: Any = self._service
        self._ways = ways = service.ways
        twin = LimitedSite(ways.api, service.admission, service.metrics, ways.http.max_body)
        self._sites = ways.http, twin
        self._take, ways.polls.take = ways.polls.take, self._noted
        self._say()
        self._say()

    def _noted(self, connection: Any, data: bytes) -> bool:
        taken = bool(self._take(connection, data))
        self.taken += taken
        return taken

    def _say(self) -> None:
        chat, ann = self._ways.api._chat, Identity("ann")
        saying = chat.publish(ann, chat.publication(ann, "lobby", "news"))
        self._reactor.advance(PASSES)
        assert saying.called

    def compare(self, *requests: bytes) -> bytes:
        """Send ``requests`` on a connection to each port, with news after each; what the one
        without twisted.web answered. Raises `Differs` if the other one's answers differ."""
        if self._left <= 0:
            self._begin()
        ends = [connected(site) for site in self._sites]
        for request in requests:
            self._left -= 1
            sent = self._filled(request)
            for end in ends:
                end.protocol.dataReceived(sent)
            self._reactor.advance(PASSES)
            self._say()
        for end in ends:
            end.protocol.connectionLost(Failure(ConnectionDone()))
        self._reactor.advance(0)
        ours, theirs = (_OWN.sub(rb"\1", end.value()) for end in ends)
        if ours != theirs or ends[0].disconnecting != ends[1].disconnecting:
            raise Differs(f"{ours!r:.1500} is not {theirs!r:.1500}, for {requests!r:.1000}")
        counts = [self._ways.polls.in_hand, self._ways.api.in_hand]
        counts += [counted.total for counted in self._admission()]
        assert counts == [0] * 5, counts
        return ours

    def _admission(self) -> list[Any]:
        admission = self._ways.http.admission
        return [admission.requests, admission.connections, admission.sockets]

    def _filled(self, request: bytes) -> bytes:
        chat = self._ways.api._chat
        room = chat.rooms.get(chat.directory.get("lobby"))
        life, head = room.stream.life, room.head
        before = f"{life}:{head - 1}".encode()
        return request.replace(BEFORE, before).replace(NOW, f"{life}:{head}".encode())
