"""Socket.IO clients are clients like any other: same answers, rights, limits, cursors and drain."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred

from chatd.transports.websocket.connection import UNDER_WAY
from tests.support.engine import CLIENTS, PollingClient, SocketClient, path
from tests.support.guarded import ADMIN_KEY, OTHER_KEY, GuardedTests, bearing, token
from tests.support.http_client import HTTP, Answer
from tests.support.raw import head_of
from tests.support.serving import Node
from tests.support.waiting import pause, together, until, until_of

KB = 1024
#: Bytes of answers that one client may have held for it.
UNREAD = 256 * KB
LISTED = "https://chat.example.org"


class SocketIOTests(GuardedTests):
    async def connected(self, kind: Any, node: Node, user: str, *rooms: str) -> Any:
        """A client in the main namespace, that has joined ``rooms``."""
        client = await kind.open(node)
        await client.connect(username=user)
        for room in rooms:
            self.assertEqual((await client.ask("join", {"room": room}))["type"], "joined")
        return client

    async def waiting(self, client: PollingClient) -> Any:
        """A poll that is held, because there is nothing to be told."""
        node: Any = client.node
        client._packets.clear()
        while True:
            poll = await node.ask("GET", client.path)
            await until_of(poll.raw, lambda raw: node.service.ways.api.in_hand == 1 or raw.received)
            await pause(0.01)
            if not poll.raw.received:
                return poll

    def refused(self, node: Node, code: str) -> float:
        """How many refusals with ``code`` the metrics count."""
        value = node.service.metrics.registry.get_sample_value
        return value("chatd_errors_total", {"code": code}) or 0.0


class RequestTests(SocketIOTests):
    """The protocol's requests, as events."""

    async def test_answers_come_by_callback_or_as_events(self) -> None:
        node = await self.serve()
        for kind in CLIENTS:
            client = await self.connected(kind, node, "ann")
            for name, said, answer in (
                ("join", {"room": "lobby"}, "joined"),
                ("message", {"room": "lobby", "text": "x", "id": kind.__name__}, "ack"),
                ("leave", {"room": "lobby"}, "left"),
                ("join", {"room": "nowhere"}, "error"),
                ("auth", {"token": "x"}, "error"),
                ("nothing", {}, "error"),
                ("join", "lobby", "error"),
                ("typing", {"room": "lobby"}, "error"),
            ):
                called = await client.ask(name, said)
                self.assertEqual(called["type"], answer)
                await client.emit(name, said)
                told = await client.find(answer)
                self.assertEqual({**told, "cursor": 0}, {**called, "cursor": 0})

    async def test_what_is_not_said_is_called_back_empty(self) -> None:
        node = await self.serve()
        for kind in CLIENTS:
            client = await self.connected(kind, node, "ann", "lobby")
            self.assertIsNone(await client.ask("typing", {"room": "lobby"}))

    async def test_who_has_left_is_not_answered_as_who_comes_next(self) -> None:
        node = await self.serve()
        append, held = node.service.broker.append, list[Deferred[None]]()

        def slow(*args: Any) -> Deferred[None]:
            held.append(Deferred())
            return held[-1].addCallback(lambda _: append(*args))

        self.patch(node.service.broker, "append", slow)
        for kind in CLIENTS:
            client = await self.connected(kind, node, "ann")
            for id in ("", "7"):
                await client.send(f'42{id}["message",{{"room":"lobby","text":"ann\'s"}}]')
            await client.send("41")
            self.assertEqual(await client.connect(username="ben"), "ben")
            while held:
                held.pop(0).callback(None)
                await pause()
            await client.send('428["typing",{"room":"nowhere"}]')
            self.assertTrue((await client.packet()).startswith("438["))

    async def test_others_come_go_and_type(self) -> None:
        node = await self.serve()
        for kind in CLIENTS:
            client = await self.connected(kind, node, "ann", "lobby")
            other = await node.chat("ben", "lobby")
            self.assertIn("ben", (await client.find("presence"))["joined"])
            other.send({"type": "typing", "room": "lobby"})
            self.assertEqual((await client.find("typing"))["user"], "ben")
            other.raw.abort()
            self.assertEqual((await client.find("presence"))["left"], ["ben"])
            await client.send("1")

    async def test_a_room_that_goes(self) -> None:
        node = await self.serve(*self.locks())
        for kind in CLIENTS:
            await node.service.chat.directory.create("doomed")
            client = await self.connected(kind, node, "ann", "doomed")
            await node.request("DELETE", "/rooms/doomed", None, **bearing(ADMIN_KEY))
            self.assertEqual((await client.find("left"))["room"], "doomed")
            self.assertEqual((await client.find("error"))["code"], "unknown_room")

    async def test_its_own_recovery_is_answered_honestly(self) -> None:
        """No ``pid`` in the answer: the client's ``recovered`` stays false. Cursors resume."""
        node = await self.serve()
        for kind in CLIENTS:
            client = await kind.open(node)
            await client.send('40{"pid":"p","offset":"o"}')
            self.assertEqual(list(json.loads((await client.packet())[2:])), ["sid"])

    async def test_who_does_not_say_who_it_is(self) -> None:
        node = await self.serve()
        for kind in CLIENTS:
            self.assertRegex(await (await kind.open(node)).connect(), r"^guest-[0-9a-f]{6}$")
            named = await kind.open(node, username="ann")
            self.assertEqual(await named.connect(), "ann")
            other = await kind.open(node, username="ann")
            await other.send('40{"username":"ben"}')
            refused = await other.packet()
            self.assertTrue(refused.startswith('44{"message":"The body names another'), refused)
            self.assertEqual(json.loads(refused[2:])["data"]["code"], "bad_request")


class TokenTests(SocketIOTests):
    async def test_tokens_in_auth_in_the_query_and_in_the_header(self) -> None:
        node = await self.guarded()
        for kind in CLIENTS:
            client = await kind.open(node)
            self.assertEqual(await client.connect(token=token(node, "ann")), "ann")
            client = await kind.open(node, token=token(node, "ben"))
            self.assertEqual(await client.connect(username="zoe"), "ben")
            client = await kind.open(node, token=token(node, "ben"))
            self.assertEqual(await client.connect(token=token(node, "ann")), "ann")
        head = await node.get(path("polling"), **bearing(token(node, "mia")))
        client = PollingClient(node, json.loads(head.body[1:]))
        self.assertEqual(await client.connect(), "mia")
        self.assertEqual((await client.ask("join", {"room": "den"}))["type"], "joined")

    async def test_wrong_tokens(self) -> None:
        node = await self.guarded()
        for kind in CLIENTS:
            client = await kind.open(node)
            for shown, code in (
                (None, "unauthorized"),
                ("x", "unauthorized"),
                (token(node, key=OTHER_KEY), "unauthorized"),
                (token(node, lives=-1), "unauthorized"),
                (7, "bad_request"),
            ):
                await client.send("40" + json.dumps({} if shown is None else {"token": shown}))
                refused = await client.packet()
                self.assertEqual(refused[:2], "44")
                said = json.loads(refused[2:])
                self.assertEqual(said["data"]["code"], code)
                self.assertEqual(said["message"], said["data"]["text"])
            self.assertEqual(await client.connect(token=token(node, "ann")), "ann")
            denied = await client.ask("join", {"room": "den"})
            self.assertEqual(denied["code"], "forbidden")

    async def test_a_token_runs_out(self) -> None:
        """The client is told, and disconnected, so that it does not come back by itself."""
        node = await self.guarded()
        for kind in CLIENTS:
            client = await kind.open(node)
            await client.connect(token=token(node, lives=10))
            renewed = await client.ask("auth", {"token": token(node, lives=20)})
            self.assertEqual((renewed["type"], renewed["user"]), ("welcome", "ann"))
            node.clock.advance(11)
            self.assertEqual((await client.ask("join", {"room": "hall"}))["type"], "joined")
            node.clock.advance(11)
            self.assertEqual((await client.find("error"))["code"], "unauthorized")
            self.assertEqual(await client.packet(), "41")
            if kind is SocketClient:
                self.assertEqual((await client.closed()).code, 4401)
            else:
                self.assertEqual((await client.poll()).body, b"1")
                self.assertEqual((await client.poll()).json["code"], 1)


class OriginTests(SocketIOTests):
    async def test_pages_of_other_origins(self) -> None:
        node = await self.serve("--origin", LISTED)
        client = await PollingClient.open(node)
        for target in (path("polling"), client.path):
            evil = await node.get(target, origin="https://evil.example.org")
            self.assertEqual((evil.status, evil.code), (403, "forbidden"))
        evil = await client.post("40", origin="https://evil.example.org")
        self.assertEqual(evil.status, 403)
        refused = await node.websocket(
            path("websocket"), "http", None, origin="https://evil.example.org"
        )
        self.assertEqual(refused.status, 403)
        for target, status in ((path("polling"), 200), (path("polling", sid="x"), 400)):
            answer = await node.get(target, origin=LISTED)
            self.assertEqual(answer.status, status)
            self.assertEqual(answer.header("access-control-allow-origin"), LISTED)
        asked = {"origin": LISTED, "access_control_request_method": "POST"}
        preflight = await node.request("OPTIONS", path("polling"), None, **asked)
        self.assertEqual(preflight.status, 204)
        self.assertIn("POST", str(preflight.header("access-control-allow-methods")))


class BoundTests(SocketIOTests):
    async def test_sessions_per_address(self) -> None:
        """Whatever carries them; an upgrade needs a connection of its own for a moment."""
        node = await self.serve("--max-connections-per-address", "3")
        count = node.service.admission.connections
        clients = [await kind.open(node) for kind in (*CLIENTS, PollingClient)]
        for transport in ("polling", "websocket"):
            if transport == "polling":
                over = await node.get(path(transport))
            else:
                over = (await node.websocket(path(transport), "http", None)).answer
            self.assertEqual((over.status, over.code), (503, "unavailable"))
            self.assertTrue(over.header("retry-after"))
        raw = await node.websocket(path("websocket", sid=clients[0].sid), "http", None)
        self.assertEqual(raw.status, 503)
        await clients[2].send("1")
        await until(lambda: count.total == 2)
        await clients[0].upgrade()
        await until(lambda: count.total == 2)
        await node.hang_up()
        node.clock.advance(46)
        await until(lambda: count.total == 0)

    async def test_a_post_that_is_refused_before_it_is_read(self) -> None:
        """Its session ends, as by any other failure: the packets are lost, and its client has
        given up. Who may not ask ends nothing."""
        node = await self.serve()
        admission, count = node.service.admission, node.service.admission.connections
        for headers, status in (
            ({"content_encoding": "gzip"}, 415),
            ({"content_length": str(10**9)}, 413),
            ({}, 503),
        ):
            client = await PollingClient.open(node)
            foreign = await client.post("3", origin="https://evil.example", **headers)
            self.assertEqual(foreign.status, 403)
            self.assertEqual(count.total, 1)
            poll = await self.waiting(client)
            if status == 503:
                admission.requests.per_address = 1  # which is the poll
            self.assertEqual((await client.post("3", **headers)).status, status)
            # not that it is closed: clients in Python would not come back
            self.assertEqual((await poll.answer()).json["code"], 1)
            self.assertEqual((await client.poll()).json["code"], 1)
            self.assertEqual(count.total, 0)

    async def test_sessions_are_counted(self) -> None:
        node = await self.serve()
        value = node.service.metrics.registry.get_sample_value

        def open(transport: str) -> float:
            return value("chatd_connections", {"transport": transport}) or 0.0

        client = await PollingClient.open(node)
        other = await SocketClient.open(node)
        self.assertEqual((open("socketio_polling"), open("socketio_websocket")), (1, 1))
        await client.upgrade()
        await until(lambda: open("socketio_polling") == 0)
        self.assertEqual(open("socketio_websocket"), 2)
        other.socket.raw.abort()
        await until(lambda: open("socketio_websocket") == 1)
        await node.get(path("polling", sid="x"))
        self.assertEqual(self.refused(node, "bad_request"), 1)

    async def test_rates(self) -> None:
        """Not got around by leaving the namespace and coming back."""
        node = await self.serve("--rate=1/s")
        node.clock.hold()
        for kind in CLIENTS:
            client = await self.connected(kind, node, "ann")
            said = {"room": "lobby", "text": "x"}
            codes = [(await client.ask("message", said)).get("code") for _ in range(3)]
            self.assertEqual(codes, [None, None, "rate_limited"])
            await client.send("41")
            await client.connect(username="ann")
            self.assertEqual((await client.ask("message", said))["code"], "rate_limited")

    async def test_a_client_beyond_help_is_disconnected(self) -> None:
        node = await self.serve()
        for kind in CLIENTS:
            client = await self.connected(kind, node, "ann")
            for _ in range(10):
                await client.emit("nothing", {})
            for _ in range(10):
                self.assertEqual((await client.event())["code"], "bad_request")
            self.assertEqual(await client.packet(), "41")
            if kind is SocketClient:
                self.assertEqual((await client.closed()).code, 4400)
            else:
                self.assertEqual((await client.poll()).body, b"1")

    async def test_what_is_too_large(self) -> None:
        node = await self.serve()
        for kind in CLIENTS:
            client = await self.connected(kind, node, "ann")
            long = {"room": "lobby", "text": "x" * (16 * KB + 1)}
            self.assertEqual((await client.ask("message", long))["code"], "too_large")
        text = "x" * (128 * KB)
        carried = await SocketClient.open(node)
        await carried.send(f"4{text}")
        self.assertEqual((await carried.closed()).code, 1009)
        for headers in ({}, {"transfer_encoding": "chunked", "content_length": ""}):
            polling = await PollingClient.open(node)
            poll = await self.waiting(polling)
            if headers:
                chunk = f"{len(text) + 1:x}\r\n4{text}\r\n0\r\n\r\n"
                raw = await node.raw("http")
                head = f"POST {polling.path} HTTP/1.1\r\nHost: localhost\r\n"
                raw.send(f"{head}Transfer-Encoding: chunked\r\n\r\n{chunk}".encode())
                self.assertTrue((await raw.until(b"\r\n")).startswith(b"HTTP/1.1 413"))
            else:
                self.assertEqual((await polling.post(f"4{text}")).status, 413)
            self.assertEqual((await poll.answer()).json["code"], 1)

    async def test_packets_of_a_payload(self) -> None:
        node = await self.serve()
        client = await PollingClient.open(node)
        await client.send(*["3"] * 1000)
        self.assertEqual((await client.post("\x1e".join(["3"] * 1001))).json["code"], 3)

    async def test_a_backlog_in_payloads_that_python_clients_take(self) -> None:
        """Those of python-engineio end the session upon a payload of more than 16 packets."""
        node = await self.serve("--rate=1000000/s")
        ben = await node.chat("ben")
        for n in range(50):
            await ben.say("lobby", f"{n}")
        client = await self.connected(PollingClient, node, "ann")
        await client.emit("join", {"room": "lobby", "last": 50})
        packets: list[str] = []
        while not packets or '"text":"49"' not in packets[-1]:
            more = (await client.poll()).body.decode().split("\x1e")
            self.assertLessEqual(len(more), 16)
            packets += more
        said = [json.loads(packet[2:])[1] for packet in packets]
        texts = [frame["text"] for frame in said if frame["type"] == "message"]
        self.assertEqual(texts, [f"{n}" for n in range(50)])

    async def test_answers_that_are_not_polled_for(self) -> None:
        """Held up to a bound; then nothing more is taken up, and the post waits."""
        node = await self.serve("--rate=1000000/s")
        client = await self.connected(PollingClient, node, "ann")
        asked = [f'42{n}["message",{{"room":"{"x" * 99}","text":"x"}}]' for n in range(900)]
        post = await node.ask("POST", client.path, "\x1e".join(asked))
        held = node.service.admission.unread
        await until(lambda: held.total > 30 * KB)
        await pause(0.05)
        self.assertLess(held.total, 64 * KB)
        self.assertEqual(post.raw.received, b"")
        for n in range(900):
            self.assertTrue((await client.packet()).startswith(f"43{n}["))
        self.assertEqual((await post.answer()).body, b"ok")
        self.assertEqual(held.total, 0)

    async def test_requests_under_way_are_limited(self) -> None:
        """The post waits until some are answered."""
        node = await self.serve("--rate=1000000/s")
        client = await self.connected(PollingClient, node, "ann")
        append, held = node.service.broker.append, list[Deferred[None]]()

        def slow(*args: Any) -> Deferred[None]:
            held.append(Deferred())
            return held[-1].addCallback(lambda _: append(*args))

        self.patch(node.service.broker, "append", slow)
        asked = [f'42{n}["message",{{"room":"lobby","text":"{n}"}}]' for n in range(UNDER_WAY + 9)]
        post = await node.ask("POST", client.path, "\x1e".join(asked))
        await until(lambda: len(held) == UNDER_WAY)
        await pause(0.05)
        self.assertEqual((len(held), post.raw.received), (UNDER_WAY, b""))
        held.pop(0).callback(None)
        await until(lambda: len(held) == UNDER_WAY)
        while held:
            held.pop(0).callback(None)
            await pause()
        self.assertEqual((await post.answer()).body, b"ok")

    async def test_answers_that_are_not_polled_for_during_an_upgrade(self) -> None:
        """A stock client, once its WebSocket is answered, ends its poll and polls no more, and
        waits for its post before it says so."""
        node = await self.serve("--rate=1000000/s")
        client = await self.connected(PollingClient, node, "ann")
        asked = [f'42{n}["message",{{"room":"{"x" * 99}","text":"x"}}]' for n in range(500)]
        post = await node.ask("POST", client.path, "\x1e".join(asked))
        await until(lambda: node.service.admission.unread.total > 30 * KB)
        socket = await client.probe()
        self.assertEqual((await post.answer()).body, b"ok")
        joins = ['42["join",{"room":"lobby"}]'] * 100
        self.assertEqual((await client.post("\x1e".join(joins))).body, b"ok")
        await socket.send("5")
        for n in range(500):
            self.assertTrue((await socket.packet()).startswith(f"43{n}["))

    async def test_who_never_polls_is_forgotten(self) -> None:
        node = await self.serve("--rate=1000000/s")
        client = await self.connected(PollingClient, node, "ann", "lobby")
        asked = [f'42{n}["message",{{"room":"{"x" * 99}","text":"x"}}]' for n in range(900)]
        post = await node.ask("POST", client.path, "\x1e".join(asked))
        await until(lambda: node.service.admission.unread.total > 30 * KB)
        for _ in range(2):
            node.clock.advance(26)
            await pause()
        self.assertEqual((await post.answer()).json["code"], 1)
        self.assertEqual(node.service.admission.unread.total, 0)
        self.assertEqual(node.service.chat.presence.local(), {})

    async def test_a_join_that_waits_for_a_poll(self) -> None:
        """It is answered over WebSocket if the session goes on there, and not done if it ends."""
        node = await self.serve()
        told: list[tuple[str, str, bool]] = []
        self.patch(node.service.chat.presence, "on_local", lambda *change: told.append(change))
        for user in ("ann", "bob"):
            client = await self.connected(PollingClient, node, user)
            await client.emit("join", {"room": "lobby"})
            [link] = node.service.ways.socketio._sessions.all_polling()
            await until_of(link.outlet, lambda outlet: outlet._waiting)
            if user == "ann":
                upgraded = await client.upgrade()
                self.assertEqual((await upgraded.find("joined"))["room"], "lobby")
            else:
                link.sendClose()
        self.assertEqual(told, [("lobby", "ann", True)])

    async def test_messages_wait_in_the_room(self) -> None:
        """Nothing is kept for who does not poll; a payload is not much longer than it may be."""
        node = await self.serve("--rate=1000000/s")
        client = await self.connected(PollingClient, node, "ann", "lobby")
        ben = await node.chat("ben")
        for n in range(60):
            await ben.say("lobby", f"{n:02}" * 4000)
        self.assertLess(node.service.admission.unread.total, KB)
        seen: list[str] = []
        while len(seen) < 60:
            answer = await client.poll()
            self.assertLess(len(answer.body), UNREAD)
            said = [json.loads(one[2:]) for one in answer.body.decode().split("\x1e")]
            seen += [frame["text"][:2] for name, frame in said if name == "message"]
        self.assertEqual(seen, [f"{n:02}" for n in range(60)])


class SentAgainTests(SocketIOTests):
    """A browser sends a request again, as it was, if its connection breaks before the answer."""

    async def stamped(self, node: Node) -> PollingClient:
        """A client each request of which has another ``t``."""
        client = await PollingClient.open(node, t="0")
        self.numbers = iter(range(1, 100))
        self.patch(
            PollingClient,
            "path",
            property(lambda self_: path("polling", sid=self_.sid, t=str(next(self.numbers)))),
        )
        await client.connect(username="ann")
        joined = await client.ask("join", {"room": "lobby"})
        self.assertEqual(joined["type"], "joined")
        return client

    async def test_a_poll_sent_again_ends_the_session_for_its_answer_is_lost(self) -> None:
        node = await self.serve()
        ann = await self.stamped(node)
        await node.post("/rooms/lobby/messages?username=ben", b"x", content_type="text/plain")
        at = ann.path
        lost = await node.get(at)
        self.assertIn(b"message", lost.body)
        answer = await node.get(at)
        self.assertEqual((answer.status, answer.json["code"]), (400, 3))
        answer = await node.get(ann.path)
        self.assertEqual((answer.status, answer.json["code"]), (400, 1))
        self.assertEqual((await node.get("/rooms/lobby")).json["members"], [])

    async def test_the_first_poll_sent_again(self) -> None:
        node = await self.serve()
        ann = await PollingClient.open(node, t="a")
        await ann.post('40{"username":"ann"}')
        at = path("polling", sid=ann.sid, t="b")
        self.assertEqual((await node.get(at)).status, 200)
        self.assertEqual((await node.get(at)).status, 400)

    async def test_a_post_sent_again_says_nothing_twice(self) -> None:
        node = await self.serve()
        ann = await self.stamped(node)
        at, said = ann.path, '42["message",{"room":"lobby","text":"once"}]'
        for status in (200, 400):
            answer = await node.post(at, said, content_type="text/plain;charset=UTF-8")
            self.assertEqual(answer.status, status)
        kept = (await node.get("/rooms/lobby/messages?last=10")).json["messages"]
        self.assertEqual([message["text"] for message in kept], ["once"])

    async def test_a_client_with_one_timestamp_for_all(self) -> None:
        node = await self.serve()
        for stamp in ({}, {"t": "x"}):
            ann = await PollingClient.open(node, **stamp)
            at = path("polling", sid=ann.sid, **stamp)
            for packet in ("40", '42["join",{"room":"lobby"}]', '42["leave",{"room":"lobby"}]'):
                self.assertEqual((await node.post(at, packet)).status, 200)
                self.assertEqual((await node.get(at)).status, 200)


class RoamingTests(SocketIOTests):
    async def test_another_node_says_begin_again_and_nothing_is_lost(self) -> None:
        """Behind a balancer without sticky sessions, as often as it likes."""
        one = await self.serve()
        broker: Any = one.service.broker
        with mock.patch("chatd.tap.broker_at", side_effect=lambda *_: broker.peer()):
            two = await self.serve()
        seen: list[str] = []
        start: dict[str, Any] = {}
        for n in range(6):
            node, other = (one, two) if n % 2 else (two, one)
            client = await self.connected(PollingClient, node, "ann")
            joined = await client.ask("join", {"room": "lobby", **start})
            self.assertFalse(joined["gap"])
            for text in (f"{n}.0", f"{n}.1"):
                await other.post("/rooms/lobby/messages?username=ben", {"text": text})
            while len(seen) < 2 * n + 1:
                message = await client.find("message")
                seen.append(message["text"])
                start = {"after": message["cursor"]}
            client.node = other
            strange = await client.poll()
            self.assertEqual(strange.status, 400)
            self.assertEqual(strange.json, {"code": 1, "message": "Session ID unknown"})
            self.assertEqual((await client.post("40")).json["code"], 1)
        self.assertEqual(seen, [f"{n}.{k}" for n in range(6) for k in range(2)][:11])


class DrainTests(SocketIOTests):
    async def test_everyone_is_told_when_to_come_back(self) -> None:
        node = await self.serve()
        polling = await self.connected(PollingClient, node, "ann", "lobby")
        carried = await self.connected(SocketClient, node, "ben", "lobby")
        poll = await self.waiting(polling)
        idle = await PollingClient.open(node)
        stopped = node.drain()
        bye = (await poll.answer()).body.decode().split("\x1e")[-1]
        name, frame = json.loads(bye[2:])
        self.assertEqual((name, frame["reason"]), ("bye", "restart"))
        self.assertEqual((await carried.find("bye"))["reason"], "restart")
        self.assertEqual((await carried.closed()).code, 1012)
        del idle
        await stopped

    async def test_who_is_between_two_polls_is_told_by_the_next(self) -> None:
        """That is all that is answered still, to those who are connected. Then they begin again, as
        on another node: not all clients do so after a close."""
        node = await self.serve()
        ann = await self.connected(PollingClient, node, "ann", "lobby")
        connections = [await node.raw("http") for _ in range(4)]
        stopped = node.drain()

        async def ask(method: str, at: str) -> Answer:
            raw, head = connections.pop(), {"Host": "localhost", "Content-Length": "0"}
            raw.send(head_of(f"{method} {at} HTTP/1.1", head))
            return await HTTP(raw, method).answer()

        for refused in (ask("POST", ann.path), ask("GET", path("polling"))):
            answer = await refused
            self.assertEqual((answer.status, answer.json["code"]), (503, "unavailable"))
        name, frame = json.loads((await ask("GET", ann.path)).body[2:])
        self.assertEqual((name, frame["reason"]), ("bye", "restart"))
        answer = await ask("GET", ann.path)
        self.assertEqual((answer.status, answer.json["code"]), (400, 1))
        await stopped

    async def test_publishes_in_hand_are_acknowledged(self) -> None:
        """Also those of a client that has upgraded since."""
        node = await self.serve()
        clients = [await self.connected(kind, node, "ann") for kind in (*CLIENTS, PollingClient)]
        append, held = node.service.broker.append, list[Deferred[None]]()

        def slow(*args: Any) -> Deferred[None]:
            held.append(Deferred())
            return held[-1].addCallback(lambda _: append(*args))

        self.patch(node.service.broker, "append", slow)
        poll = await self.waiting(clients[0])
        for n, client in enumerate(clients):
            await client.send(f'427["message",{{"room":"lobby","text":"x","id":"k{n}"}}]')
        clients[2] = await clients[2].upgrade()
        sessions = node.service.ways.socketio._sessions
        await until(lambda: len(held) == 3 and len(sessions.all_polling()) == 1)
        stopped = node.drain()
        for one in held:
            one.callback(None)
        said = (await poll.answer()).body.decode()
        self.assertIn('437[{"type":"ack","room":"lobby","id":"k0"}]', said)
        self.assertNotIn("\x1e1", said)
        for n, client in enumerate(clients[1:], 1):
            packets = [await client.packet() for _ in range(2)]
            self.assertIn(f'437[{{"type":"ack","room":"lobby","id":"k{n}"}}]', packets)
            await client.closed()
        await stopped

    async def test_many_at_once(self) -> None:
        node = await self.serve("--rate=1000/s")
        clients = [
            await self.connected(kind, node, f"u{n}", "lobby") for kind in CLIENTS for n in range(5)
        ]

        async def talk(client: Any, number: int) -> list[str]:
            answer = await client.ask("message", {"room": "lobby", "text": f"{number}"})
            self.assertEqual(answer["type"], "ack")
            return []

        async def hear(client: Any) -> set[str]:
            return {(await client.find("message"))["text"] for _ in range(10)}

        readers = [await self.connected(kind, node, "reader", "lobby") for kind in CLIENTS]
        heard = together(*(hear(one) for one in readers))
        await together(*(talk(client, n) for n, client in enumerate(clients)))
        for texts in await heard:
            self.assertEqual(texts, {str(n) for n in range(10)})
