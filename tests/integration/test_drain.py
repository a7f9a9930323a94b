"""SIGTERM: clients are sent away, what is in hand is finished (protocol, sections 3, 5 and 8)."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError

from chatd.service.lifecycle import DRAIN, FAREWELL
from chatd.timing import turn_queue
from chatd.transports.come_back import AT_ONCE, COME_BACK, spread
from tests.support.serving import Node, ServingTests
from tests.support.waiting import together, until
from tests.support.ws_client import Closed, WebSocket

SAY = "/rooms/lobby/messages?username=ann"


class DrainTests(ServingTests):
    async def goodbye(self, socket: WebSocket) -> tuple[int, int]:
        """``retry`` of the goodbye, and the close code after it."""
        bye = await socket.find("bye")
        self.assertEqual((set(bye), bye["reason"]), ({"type", "reason", "retry"}, "restart"))
        with self.assertRaises(Closed) as closing:
            await socket.receive()
        return bye["retry"], closing.exception.code

    async def test_sockets(self) -> None:
        """Each is told when to come back, and not all at once; then 1012."""
        node = await self.serve()
        sockets = [await node.chat(f"u{n}", "lobby") for n in range(12)]
        node.drain()
        told = await together(*map(self.goodbye, sockets))
        self.assertEqual({code for _, code in told}, {1012})
        times = [retry for retry, _ in told]
        self.assertTrue(all(isinstance(ms, int) and 0 < ms <= 10_000 for ms in times), times)
        self.assertGreater(len(set(times)), 6)

    async def test_where_another_node_can_take_them(self) -> None:
        """They come back at once, by socket and by event stream, and still not all together."""
        node = await self.serve()
        node.service.broker.broadcast(b'{"node":"other-1","n":0,"kind":"beat"}')
        sockets = [await node.chat(f"u{n}", "lobby") for n in range(12)]
        streams = [await node.events("/rooms/lobby/events") for _ in range(6)]
        node.drain()
        told = [retry for retry, _ in await together(*map(self.goodbye, sockets))]
        for stream in streams:
            with self.assertRaises(EOFError):
                while True:
                    await stream.next()
            assert stream.retry is not None
            told.append(stream.retry)
        self.assertLessEqual(max(told), AT_ONCE)
        self.assertGreater(len(set(told)), 9)

    async def test_many_are_sent_away_in_turns(self) -> None:
        self.patch(turn_queue, "A_TURN", 2)
        self.patch(turn_queue, "LONG", 60)  # however busy the machine is
        node = await self.serve()
        sockets = [await node.chat(f"u{n}", "lobby") for n in range(7)]
        streams = [await node.events("/rooms/lobby/events") for _ in range(5)]
        ways = node.service.ways
        ways.websockets.drain(0)
        ways.streams.drain(0)
        self.assertEqual((ways.websockets.in_hand, ways.streams.in_hand), (5, 3))
        list(ways.websockets.connections)[-1].transport.abortConnection()  # before its turn
        told = 0
        for socket in sockets:
            try:
                told += bool(await self.goodbye(socket))
            except ConnectionError:
                continue
        self.assertEqual(told, 6)
        for stream in streams:
            with self.assertRaises(EOFError):
                while True:
                    await stream.next()
            self.assertIsNotNone(stream.retry)
        self.assertEqual((ways.websockets.in_hand, ways.streams.in_hand), (0, 0))

    async def test_an_event_stream_that_is_refused_meanwhile(self) -> None:
        """Its client is sent on as fast as those whose streams end."""
        node = await self.serve()
        node.service.broker.broadcast(b'{"node":"other-1","n":0,"kind":"beat"}')
        asking = await node.raw("http")
        holder = await node.chat("holder")
        node.drain()
        await holder.find("bye")
        asking.send(
            b"GET /rooms/lobby/events HTTP/1.1\r\nHost: localhost\r\n"
            b"Accept: text/event-stream\r\n\r\n"
        )
        await asking.until(b"retry: ")
        self.assertLess(int(await asking.until(b"\n")), 1000 + AT_ONCE)

    def test_not_more_at_a_time_than_the_others_can_take(self) -> None:
        self.assertEqual([spread(n, 0) for n in (1, 50_000)], [COME_BACK] * 2)
        self.assertEqual([spread(n, 2) for n in (1, 4000, 50_000)], [AT_ONCE, 2000, COME_BACK])

    async def test_legacy_sockets(self) -> None:
        node = await self.serve()
        socket = await node.websocket("/?roomname=lobby&username=ann", protocol=None)
        self.assertEqual(await socket.receive_text(), "Connection open")
        node.drain()
        with self.assertRaises(Closed) as closing:
            await socket.receive_text()
        self.assertEqual(closing.exception.code, 1012)

    def slow(self, node: Node) -> list[Deferred[None]]:
        """Have the broker begin with an append only once one of these fires."""
        append = node.service.broker.append
        held: list[Deferred[None]] = []

        def slow(*args: object) -> Deferred[None]:
            held.append(Deferred())
            return held[-1].addCallback(lambda _: append(*args))

        self.patch(node.service.broker, "append", slow)
        return held

    async def test_publishes_in_hand_are_acknowledged(self) -> None:
        """The broker takes its time; the goodbye does not wait for it, the close does."""
        node = await self.serve()
        ann = await node.chat("ann")
        held = self.slow(node)
        for id in ("first", "last"):
            ann.send({"type": "message", "room": "lobby", "text": "x", "id": id})
            await until(lambda: held)
        post = await node.ask("POST", SAY, {"text": "y", "id": "post"})
        await until(lambda: len(held) == 3)
        stopped = node.drain()
        self.assertEqual((await ann.receive())["type"], "bye")
        held.pop(0).callback(None)
        self.assertEqual(await ann.receive(), {"type": "ack", "room": "lobby", "id": "first"})
        for one in held:
            one.callback(None)
        self.assertEqual(await ann.receive(), {"type": "ack", "room": "lobby", "id": "last"})
        with self.assertRaises(Closed) as closing:
            await ann.receive()
        self.assertEqual(closing.exception.code, 1012)
        self.assertEqual((await post.answer()).status, 201)
        await stopped

    async def test_waiting_polls_are_answered_at_once(self) -> None:
        node = await self.serve()
        cursor = (await node.get("/rooms/lobby")).json["cursor"]
        total = node.service.admission.connections
        polls = [
            await node.ask("GET", f"{path}after={cursor}&wait=60")
            for path in ("/rooms/lobby/messages?", "/poll?roomname=lobby&")
        ]
        await until(lambda: total.total == 2)
        stopped = node.drain()
        for poll in polls:
            answer = await poll.answer()
            self.assertEqual((answer.status, answer.json["messages"]), (200, []))
            self.assertEqual(answer.json["cursor"], cursor)
        await stopped

    async def test_streams_end(self) -> None:
        node = await self.serve()
        stream = await node.events("/rooms/lobby/events")
        stopped = node.drain()
        with self.assertRaises(EOFError):
            await stream.message()
        await stopped

    async def test_a_stream_that_waits_for_its_room(self) -> None:
        """It does not open when the room is there, and holds nothing up."""
        node = await self.serve()
        await node.service.chat.directory.create("cold")
        node.service.broker.interrupt()
        waiting = [
            await node.ask("GET", "/rooms/cold/events?username=ann", None, accept=accept)
            for accept in ("text/event-stream", "*/*")
        ]
        await until(lambda: node.service.ways.api.in_hand == 2)
        stopped = node.drain()
        node.service.broker.resume()
        self.assertIn(b"event: refused", (await waiting[0].answer()).body)
        self.assertEqual((await waiting[1].answer()).status, 503)
        self.assertEqual(node.service.admission.connections.total, 0)
        self.assertEqual(node.service.chat.presence.members("cold").count, 0)
        await stopped

    async def test_new_requests_are_refused(self) -> None:
        """On connections there are, of which each is closed then, for its client to go to another
        node; nobody gets a new one. Probes are answered."""
        node = await self.serve()
        holder = await node.chat("holder")
        refused = ("/", "/rooms/lobby", "/rooms/lobby/messages", "/rooms/lobby/events", "/readyz")
        connections = {path: await node.raw("http") for path in (*refused, "/healthz", "/metrics")}

        async def get(path: str) -> tuple[int, dict[str, str]]:
            raw = connections[path]
            raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            first, *lines = (await raw.until(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            await raw.take(int(headers["content-length"]))
            return int(first.split()[1]), headers

        for path in connections:
            if path != "/rooms/lobby/events":
                self.assertEqual((await get(path))[0], 200)
        node.drain()
        await holder.find("bye")
        for path, raw in connections.items():
            status, headers = await get(path)
            self.assertEqual(status, 503 if path in refused else 200, path)
            if status == 503:
                self.assertGreaterEqual(int(headers["retry-after"]), 1)
            self.assertEqual(headers["connection"], "close", path)
            self.assertEqual(await raw.rest(), b"", path)
        for port in ("http", "websocket", "setup"):
            with self.assertRaises(ConnectError):
                await node.raw(port)

    async def test_who_does_not_go_is_left_behind(self) -> None:
        """Soon, whoever does not answer the close: it keeps nobody from being served again."""
        node = await self.serve()
        deaf = await node.chat("deaf")
        deaf.raw.transport.pauseProducing()
        stopped = node.drain()
        await self.pass_time(node, FAREWELL - 0.5)
        self.assertFalse(stopped.called)
        await self.pass_time(node, 1)
        await stopped

    async def test_what_is_in_hand_has_more_time_than_who_only_has_to_go(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann")
        held = self.slow(node)
        ann.send({"type": "message", "room": "lobby", "text": "x", "id": "late"})
        await until(lambda: held)
        stopped = node.drain()
        await self.pass_time(node, DRAIN - 1)
        self.assertFalse(stopped.called)
        await self.pass_time(node, 2)
        await stopped

    async def pass_time(self, node: Node, seconds: float) -> None:
        node.clock.advance(seconds)
        await together(self.turn(node))

    async def turn(self, node: Node) -> None:
        done: Deferred[None] = Deferred()
        node.clock.callLater(0.06, done.callback, None)
        await done

    async def test_set_up(self) -> None:
        """What has come is answered, then the connection is closed."""
        node = await self.serve()
        resting, asking = [await node.raw("setup") for _ in range(2)]
        await until(lambda: len(node.service.ways.setup.protocols) == 2)
        held = self.slow(node)
        asking.send(b'{"roomname":"x"}\n')
        await until(lambda: held)
        stopped = node.drain()
        self.assertFalse(stopped.called)
        held[0].callback(None)
        self.assertEqual(await asking.rest(), b"200\n")
        self.assertEqual(await resting.rest(), b"")
        await stopped

    async def test_set_up_in_the_middle_of_a_request(self) -> None:
        """It is told that the node goes down, not that what it sent was wrong."""
        node = await self.serve()
        raw = await node.raw("setup")
        raw.send(b'{"roomname":"x"}{"roomname":')
        self.assertEqual(await raw.take(3), b"200")
        stopped = node.drain()
        told = b"503 unavailable: This server is going down; try again."
        self.assertEqual(await raw.rest(), told)
        await stopped
