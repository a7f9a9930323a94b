"""What a connection that lasts keeps of a long request."""

from __future__ import annotations

import gc
from typing import Any

from tests.support.engine import PollingClient, SocketClient
from tests.support.http_client import HTTP
from tests.support.serving import Node, ServingTests
from tests.support.waiting import until

LONG = "x" * 4000


class LongURLTests(ServingTests):
    async def test_an_open_socket_keeps_nothing_of_it(self) -> None:
        node = await self.serve()
        sockets = node.service.ways.websockets.connections
        path = f"/{LONG}?roomname=lobby&username=ann&token={LONG}&more={LONG}"
        for protocol in ("chatd.v1", None):
            ann = await node.websocket(path, protocol=protocol)
            await ann.receive_frame()
            (connection,) = sockets
            self.assertEqual([one[:100] for one in held(connection) if "x" * 1000 in one], [])
            ann.raw.abort()
            await until(lambda: not sockets)

    async def test_an_event_stream_keeps_nothing_of_it(self) -> None:
        node = await self.serve()
        raw = await node.raw("http")
        head = f"GET /rooms/lobby/events?username=ann&more={LONG} HTTP/1.1\r\nHost: localhost\r\n"
        raw.send(f"{head}Cookie: a={LONG}\r\n\r\n".encode())
        await raw.until(b"retry:")
        (end,) = node.connections()
        channel: Any = end.protocol
        (request,) = channel.requests
        self.assertEqual([one[:100] for one in held(request) if "x" * 1000 in one], [])

    async def test_a_poll_that_waits_keeps_nothing_of_it(self) -> None:
        """But for what its answer needs."""
        node = await self.serve("--origin=http://a.example")
        client = await PollingClient.open(node, username="eva")
        self.assertEqual(await client.connect(), "eva")
        sid = client.handshake["sid"]
        for path in (
            "/rooms/lobby/messages?wait=50&after=",
            "/poll?roomname=lobby&wait=50&after=",
            f"/socket.io/?EIO=4&transport=polling&sid={sid}&after=",
        ):
            cursor = (await node.get("/rooms/lobby")).json["cursor"]
            raw = await node.raw("http")
            head = f"GET {path}{cursor}&username=ann&more={LONG} HTTP/1.1\r\nHost: localhost\r\n"
            more = "Origin: http://a.example\r\nConnection: close\r\n"
            raw.send(f"{head}{more}Cookie: a={LONG}\r\n\r\n".encode())
            await until(lambda: 0 in kept(node), timeout=10)
            await node.post("/rooms/lobby/messages?username=ben", {"text": "news"})
            if sid in path:
                await client.emit("join", {"room": "lobby"})
            answer = await HTTP(raw, "GET").answer()
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.header("access-control-allow-origin"), "http://a.example")

    async def test_a_socket_io_session_in_open_mode_keeps_no_token(self) -> None:
        node = await self.serve()
        for kind in (PollingClient, SocketClient):
            client: Any = await kind.open(node, username="ann", token=LONG)
            self.assertEqual(await client.connect(), "ann")
            session = node.service.ways.socketio._sessions._by_id[client.handshake["sid"]]
            self.assertNotIn(LONG, held(session.talk) + held(session.carrier))


def kept(node: Node) -> list[int]:
    """How many long texts each request that waits holds."""
    requests = [one for end in node.connections() for one in getattr(end.protocol, "requests", ())]
    return [sum("x" * 1000 in text for text in held(request)) for request in requests]


def held(connection: Any) -> list[str]:
    """The texts that ``connection`` refers to, and those that it refers to by little else."""
    found, near = [], [vars(connection)]
    for _ in range(4):
        near = gc.get_referents(*near)
        found += [one for one in near if isinstance(one, str)]
        found += [one.decode("latin-1") for one in near if isinstance(one, bytes)]
    return found
