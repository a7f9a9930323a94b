"""``chatd.v1``, from the handshake to the last close code (protocol, "WebSocket")."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from chatd.transports.websocket.connection import UNDER_WAY
from tests.support.serving import Node, ServingTests
from tests.support.waiting import pause, until
from tests.support.ws_client import BINARY, CLOSE, PING, PONG, welcome

MESSAGE = {"type": "message", "room": "lobby", "text": "x"}


class HandshakeTests(ServingTests):
    async def test_both_ports(self) -> None:
        node = await self.serve()
        for path, port in (("/", "websocket"), ("/any/path", "websocket"), ("/ws", "http")):
            socket = await node.websocket(f"{path}?username=ann", port)
            self.assertEqual(socket.answer.header("sec-websocket-protocol"), "chatd.v1")
            self.assertEqual(await socket.receive(), welcome("ann"))

    async def test_a_guest(self) -> None:
        node = await self.serve()
        users = {(await (await node.websocket()).receive())["user"] for _ in range(3)}
        self.assertEqual(len(users), 3)
        for user in users:
            self.assertRegex(user, r"^guest-[0-9a-f]{6}$")

    async def test_roomname_joins_at_once(self) -> None:
        node = await self.serve()
        socket = await node.websocket("/?username=ann&roomname=lobby")
        self.assertEqual((await socket.receive())["type"], "welcome")
        joined = await socket.receive()
        self.assertEqual((joined["type"], joined["room"]), ("joined", "lobby"))
        await socket.say("lobby", "x")

    async def test_roomname_of_no_room(self) -> None:
        node = await self.serve()
        for room, code in (
            ("nowhere", "unknown_room"),
            ("%ff", "bad_request"),
        ):
            socket = await node.websocket(f"/?username=ann&roomname={room}")
            await socket.receive()
            self.assertEqual((await socket.receive())["code"], code)
            self.assertEqual(await socket.fence(), [])

    async def test_unicode_names_in_the_url(self) -> None:
        node = await self.serve("--room", "küche")
        socket = await node.websocket("/?username=Jos%C3%A9&roomname=ku%CC%88che&why=?")
        self.assertEqual((await socket.receive())["user"], "José")
        self.assertEqual((await socket.receive())["room"], "küche")

    async def test_refused(self) -> None:
        """With the error as body, as on every HTTP route."""
        node = await self.serve()
        for port in ("websocket", "http"):
            for path, protocol, headers, status, code in (
                ("/ws?username=a%20%20b", "chatd.v1", {}, 400, "bad_request"),
                ("/ws", "other.v1", {}, 400, "bad_request"),
                ("/ws", "chatd.v1", {"origin": "https://evil.example"}, 403, "forbidden"),
                ("/ws", None, {"origin": "https://evil.example"}, 403, "forbidden"),
                ("/ws", "chatd.v1", {"origin": "null"}, 403, "forbidden"),
                ("/ws", "chatd.v1", {"origin": "rubbish"}, 403, "forbidden"),
                ("/ws", "chatd.v1", {"host": "evil.example"}, 403, "forbidden"),
            ):
                socket = await node.websocket(path, port, protocol, **headers)
                self.assertEqual((socket.status, socket.answer.code), (status, code), path)
        self.assertIn("--host", socket.answer.json["text"])

    async def test_same_origin_passes(self) -> None:
        node = await self.serve("--origin", "https://chat.example")
        own = f"http://127.0.0.1:{node.port('websocket')}"
        for origin in (own, "https://chat.example"):
            self.assertEqual((await node.websocket(origin=origin)).status, 101)
        listed = await node.websocket(host="chat.example", origin="https://chat.example")
        self.assertEqual(listed.status, 101)

    async def test_one_of_several_subprotocols(self) -> None:
        node = await self.serve()
        socket = await node.websocket(protocol="mqtt, chatd.v1")
        self.assertEqual(socket.answer.header("sec-websocket-protocol"), "chatd.v1")

    async def test_who_never_finishes_the_handshake(self) -> None:
        node = await self.serve()
        raw = await node.raw("websocket")
        raw.send(b"GET / HTTP/1.1\r\n")
        await until(lambda: node.service.ways.websockets.countConnections)
        node.clock.advance(10)
        await raw.rest()

    async def test_an_endless_handshake(self) -> None:
        node = await self.serve()
        for end in (b"", b"\r\n\r\n"):
            raw = await node.raw("websocket")
            raw.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 20000 + end)
            self.assertIn(b"HTTP/1.1 431", await raw.rest())


class ErrorTests(ServingTests):
    """Every code, on a socket that stays open."""

    async def test_bad_requests(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann")
        deep = '{"type":"message","room":"lobby","text":"x","data":' + '{"a":' * 5000
        for frame in (
            "",
            " ",
            "null",
            "[]",
            '"x"',
            "{",
            "{}",
            '{"type":null}',
            '{"type":"nonsense"}',
            '{"type":["join"],"room":"lobby"}',
            '{"type":"join"}',
            '{"type":"join","room":7}',
            '{"type":"join","room":""}',
            '{"type":"join","room":"a b"}',
            '{"type":"join","room":"a/b"}',
            '{"type":"join","room":"\\ud800"}',
            '{"type":"join","room":"\\u0000"}',
            '{"type":"leave"}',
            '{"type":"typing","room":{}}',
            '{"type":"message","room":"lobby"}',
            '{"type":"message","room":"lobby","text":7}',
            '{"type":"message","room":"lobby","text":"\\udc80"}',
            '{"type":"message","room":"lobby","text":"x","id":7}',
            '{"type":"message","room":"lobby","text":"x","id":""}',
            '{"type":"message","room":"lobby","text":"x","id":"a b"}',
            '{"type":"message","room":"lobby","text":"x","id":"é"}',
            '{"type":"message","room":"lobby","text":"x","data":[]}',
            '{"type":"message","room":"lobby","text":"x","data":7}',
            '{"type":"message","room":"lobby","text":"x","data":{"a":NaN}}',
            '{"type":"message","room":"lobby","text":"x","data":{"a":1e999}}',
            '{"type":"message","room":"lobby","text":"x","data":{"a":"\\ud800"}}',
            '{"type":"message","room":"lobby","text":"x","data":{"a":' + "1" * 5000 + "}}",
            '{"type":"auth","token":7}',
            '{"type":"auth","token":"x.y.z"}',
            deep,
            deep + "1" + "}" * 5001,
            json.dumps({**MESSAGE, "id": "i" * 65}),
            json.dumps({**MESSAGE, "room": "r" * 101}),
            json.dumps({**MESSAGE, "room": "ü" * 101}),
        ):
            ann.frame(frame.encode())
            error = await ann.receive()
            self.assertEqual((error["type"], error.get("code")), ("error", "bad_request"), frame)
            self.assertEqual(await ann.fence(), [])

    async def test_what_the_request_had(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann")
        error = await ann.ask({"type": "message", "room": "nowhere", "text": "x", "id": "k"})
        self.assertEqual(set(error), {"type", "code", "text", "room", "id"})
        self.assertEqual((error["room"], error["id"]), ("nowhere", "k"))
        error = await ann.ask({"type": "join", "room": "nowhere"})
        self.assertEqual(
            (error["code"], set(error)), ("unknown_room", {"type", "code", "text", "room"})
        )
        error = await ann.ask({"type": "nonsense"})
        self.assertEqual(set(error), {"type", "code", "text"})
        error = await ann.ask({"type": "nonsense", "room": "lobby", "id": "k"})
        self.assertEqual((error["room"], error["id"]), ("lobby", "k"))

    async def test_room_names_at_their_limits(self) -> None:
        names = ["r" * 100, "ü" * 100, "漢" * 66, "a_b.c:d@e-f", "٣"]
        node = await self.serve(*(f"--room={name}" for name in names))
        ann = await node.chat("ann")
        for name in names:
            self.assertEqual((await ann.join(name))["room"], name)
        for name in ("漢" * 67, "u\u0308" * 101, "a+b", "½", "🙂"):
            self.assertEqual((await ann.ask({"type": "join", "room": name}))["type"], "error")
            await ann.fence()

    async def test_too_large(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann", "lobby")
        await ann.say("lobby", "ü" * 8192)
        await ann.say("lobby", "x" * 16384, data={"a": "y" * (49152 - 8)})
        for text, data in (
            ("x" * 16385, None),
            ("ü" * 8192 + "x", None),
            ("x" * 16384, {"a": "y" * (49153 - 8)}),
        ):
            error = await ann.ask_for("error", {**MESSAGE, "text": text, "data": data, "id": "k"})
            self.assertEqual((error["code"], error["id"]), ("too_large", "k"))
        self.assertEqual(len((await node.get("/rooms/lobby/messages?last=9")).json["messages"]), 2)

    async def test_the_limit_of_texts_is_an_option(self) -> None:
        node = await self.serve("--max-text", "10")
        ann = await node.chat("ann")
        await ann.say("lobby", "x" * 10)
        self.assertEqual((await ann.ask({**MESSAGE, "text": "x" * 11}))["code"], "too_large")

    async def test_rate(self) -> None:
        """Per connection, with a burst of twice the rate; it fills with time."""
        node = await self.serve("--rate=2/s")
        node.clock.hold()
        ann, ben = [await node.chat(u) for u in ("ann", "ben")]
        for _ in range(4):
            await ann.say("lobby", "x")
        error = await ann.ask({**MESSAGE, "id": "k"})
        self.assertEqual((error["code"], error["id"]), ("rate_limited", "k"))
        await ben.say("lobby", "x")
        node.clock.advance(1)
        await ann.say("lobby", "x")

    async def test_unavailable(self) -> None:
        """The broker is away: nothing was stored, and the same id may be sent again."""
        node = await self.serve()
        ann = await node.chat("ann", "lobby")
        broker = node.service.broker
        await ann.fence()
        broker.interrupt()
        error = await ann.ask({**MESSAGE, "id": "k"})
        self.assertEqual((error["code"], error["room"], error["id"]), ("unavailable", "lobby", "k"))
        broker.resume()
        await ann.say("lobby", "x", id="k")
        self.assertEqual(len((await node.get("/rooms/lobby/messages?last=9")).json["messages"]), 1)

    async def test_ten_in_a_row(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann")
        for _ in range(9):
            await ann.ask({})
        await ann.fence()
        for _ in range(9):
            self.assertEqual((await ann.ask({}))["code"], "bad_request")
        self.assertEqual(
            (await ann.ask({"type": "join", "room": "nowhere"}))["code"], "unknown_room"
        )
        for _ in range(10):
            ann.send({})
        self.assertEqual((await ann.closed()).code, 4400)


class FrameTests(ServingTests):
    """RFC 6455, and those who do not keep it."""

    async def test_fragments_are_one_message(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann")
        text = json.dumps({"type": "join", "room": "lobby"}).encode()
        ann.frame(text[:5], fin=False)
        ann.frame(b"in between", PING)
        ann.frame(text[5:9], 0, fin=False)
        ann.frame(b"", 0, fin=False)
        ann.frame(text[9:], 0)
        self.assertEqual(await ann.receive_frame(), (PONG, b"in between"))
        self.assertEqual((await ann.receive())["type"], "joined")

    async def test_in_single_bytes(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann")
        whole: list[bytes] = []
        send = ann.raw.send
        self.patch(ann.raw, "send", whole.append)
        ann.send({"type": "join", "room": "lobby"})
        for byte in b"".join(whole):
            send(bytes([byte]))
        self.assertEqual((await ann.receive())["type"], "joined")

    async def test_binary(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann")
        ann.frame(json.dumps({"type": "join", "room": "lobby"}).encode(), BINARY)
        self.assertEqual((await ann.receive())["code"], "bad_request")
        self.assertEqual(await ann.fence(), [])

    async def closing(self, node: Node, *frames: Any, **how: Any) -> int:
        ann = await node.chat("ann")
        ann.frame(*frames, **how)
        return (await ann.closed()).code

    async def test_close_codes(self) -> None:
        node = await self.serve("--max-frame", "64KB")
        self.assertEqual(await self.closing(node, b"x" * 65537), 1009)
        self.assertEqual(await self.closing(node, b"\xff\xfe"), 1007)
        self.assertEqual(await self.closing(node, b"x", mask=False), 1002)
        self.assertEqual(await self.closing(node, b"x", rsv=4), 1002)
        self.assertEqual(await self.closing(node, b"x", 3), 1002)
        self.assertEqual(await self.closing(node, b"x" * 126, PING), 1002)
        self.assertEqual(await self.closing(node, (1000).to_bytes(2), CLOSE), 1000)

    async def test_many_fragments_over_the_limit(self) -> None:
        node = await self.serve("--max-frame", "64KB")
        ann = await node.chat("ann")
        ann.frame(b"x" * 40000, fin=False)
        ann.frame(b"x" * 40000, 0)
        self.assertEqual((await ann.closed()).code, 1009)

    async def test_the_head_of_a_frame_too_large_is_enough(self) -> None:
        """Nothing of it is waited for or kept."""
        node = await self.serve()
        ann = await node.chat("ann")
        ann.raw.send(b"\x81\xff" + (1 << 40).to_bytes(8) + b"mask")
        self.assertEqual((await ann.closed()).code, 1009)


class LivenessTests(ServingTests):
    async def test_pings_and_pongs(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann")
        await ann.fence()
        for _ in range(3):
            node.clock.advance(26)
            opcode, payload = await ann.receive_frame()
            self.assertEqual(opcode, PING)
            ann.frame(payload, PONG)
            await ann.fence()
        node.clock.advance(19)
        self.assertEqual(await ann.fence(), [])

    async def test_who_does_not_answer_is_gone(self) -> None:
        node = await self.serve()
        ann, ben = [await node.chat(user, "lobby") for user in ("ann", "ben")]
        node.clock.advance(26)
        await until(lambda: b"\x89" in ben.raw.received)
        await ann.fence()
        self.assertEqual((await node.get("/rooms/lobby")).json["members"], ["ann", "ben"])
        node.clock.advance(21)
        await ben.raw.rest()
        await until(lambda: len(node.service.ways.websockets.connections) == 1)
        self.assertEqual((await node.get("/rooms/lobby")).json["members"], ["ann"])

    async def test_a_pong_nobody_asked_for(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann")
        ann.frame(b"hello", PONG)
        self.assertEqual(await ann.fence(), [])


class SlowTests(ServingTests):
    """A client that does not read costs little, and misses nothing."""

    async def test_who_stops_reading_reads_on(self) -> None:
        node = await self.serve("--rate=1000000/s")
        ann, writer = await node.chat("ann", "lobby"), await node.chat("ben")
        ann.raw.transport.pauseProducing()
        for n in range(700):
            await writer.say("lobby", f"{n} {'x' * 16000}")
        ann.raw.transport.resumeProducing()
        seen = [(await ann.find("message"))["text"] for _ in range(700)]
        self.assertEqual([int(text.split()[0]) for text in seen], list(range(700)))
        writer.send(MESSAGE)
        self.assertEqual((await ann.find("message"))["text"], "x")

    async def test_who_asks_and_does_not_read_is_not_read_from(self) -> None:
        node = await self.serve("--rate=1000000/s")
        ann = await node.chat("ann")
        await ann.fence()
        [connection] = node.service.ways.websockets.connections
        ann.raw.transport.pauseProducing()
        asked = 0
        while connection.outlet.stops == 0:
            for _ in range(200):
                ann.send({"type": "message", "room": "r" * 100, "text": "x"})
                asked += 1
            await pause()
            self.assertLess(asked, 1_000_000)
        ann.raw.transport.resumeProducing()
        self.assertEqual(len(await ann.fence()), asked)
        await until(lambda: connection.outlet.stops == 0)

    async def test_who_has_much_under_way_is_not_read_from(self) -> None:
        node = await self.serve("--rate=1000000/s")
        ann = await node.chat("ann")
        append, held = node.service.broker.append, list[Deferred[None]]()

        def slow(*args: Any) -> Deferred[None]:
            held.append(Deferred())
            return held[-1].addCallback(lambda _: append(*args))

        self.patch(node.service.broker, "append", slow)
        for _ in range(UNDER_WAY + 9):
            ann.send(MESSAGE)
        await until(lambda: len(held) == UNDER_WAY)
        await pause(0.05)
        self.assertEqual(len(held), UNDER_WAY)
        held.pop(0).callback(None)
        await until(lambda: len(held) == UNDER_WAY)

    async def test_who_goes_while_its_join_waits_was_never_there(self) -> None:
        node = await self.serve()
        presence = node.service.chat.presence
        ann = await node.chat("ann")
        [connection] = node.service.ways.websockets.connections
        connection.outlet.writable = False  # as when it has not read what came before
        ann.send({"type": "join", "room": "lobby"})
        await until(lambda: connection.outlet._waiting)
        told: list[tuple[str, str, bool]] = []
        self.patch(presence, "on_local", lambda *change: told.append(change))
        connection.transport.abortConnection()
        await until(lambda: not node.service.ways.websockets.connections)
        self.assertEqual(told, [])


class LimitTests(ServingTests):
    async def test_a_room_joined_again_at_once_counts_once(self) -> None:
        """The hundredth room, asked for twice before the first answer."""
        node = await self.serve()
        names = [f"r{n}" for n in range(101)]
        for name in names:
            await node.service.chat.directory.create(name)
        ann = await node.chat("ann", *names[:99])
        for name in (names[99], names[99], names[100]):
            ann.send({"type": "join", "room": name})
        heard: list[dict[str, Any]] = []
        while len(heard) < 3:
            heard += [one] if (one := await ann.receive())["type"] != "presence" else []
        self.assertEqual(
            sorted((one["type"], one["room"]) for one in heard),
            [("error", "r100"), ("joined", "r99"), ("joined", "r99")],
        )

    async def test_connections(self) -> None:
        """One too many is 503 with Retry-After; who leaves makes room."""
        node = await self.serve("--max-connections-per-address", "2")
        ann, _ = [await node.chat(user) for user in ("ann", "ben")]
        for port in ("websocket", "http"):
            refused = await node.websocket("/ws", port)
            self.assertEqual((refused.status, refused.answer.code), (503, "unavailable"))
            self.assertGreater(int(refused.answer.header("retry-after") or 0), 0)
        ann.raw.abort()
        await until(lambda: len(node.service.ways.websockets.connections) == 1)
        self.assertEqual((await node.websocket()).status, 101)

    async def test_all_together(self) -> None:
        node = await self.serve("--max-connections", "1")
        await node.chat("ann")
        self.assertEqual((await node.websocket()).status, 503)

    async def test_a_refused_handshake_counts_for_nothing(self) -> None:
        node = await self.serve("--max-connections", "1")
        for _ in range(3):
            self.assertEqual((await node.websocket("/?username=a%20%20b")).status, 400)
        self.assertEqual((await node.websocket()).status, 101)
        self.assertEqual(node.service.admission.connections.total, 1)
