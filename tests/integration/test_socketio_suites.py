"""The cases of the public test suites of Engine.IO 4 and Socket.IO 5, on a node of chatd.

Source: ``docs/engine.io-protocol/v4-test-suite`` and ``docs/socket.io-protocol/v5-test-suite`` of
the repository ``socketio/socket.io``. Their server echoes whatever it is sent; here a session
begins with ``connect``, and what is echoed is a message. ``docs/socketio.rst`` lists all cases, and
says of those that are not here why they cannot hold.
"""

from __future__ import annotations

import gc
import json
import weakref
from typing import Any

from tests.support.engine import CLIENTS, PollingClient, SocketClient, path
from tests.support.http_client import Answer
from tests.support.serving import Node, ServingTests
from tests.support.waiting import together, until
from tests.support.ws_client import WebSocket

QUERIES = {
    "no EIO": ("?transport={}", 5),
    "another EIO": ("?EIO=abc&transport={}", 5),
    "EIO 3": ("?EIO=3&transport={}", 5),
    "no transport": ("?EIO=4", 0),
    "another transport": ("?EIO=4&transport=abc", 0),
}
MESSAGES = {
    0: "Transport unknown",
    1: "Session ID unknown",
    2: "Bad handshake method",
    3: "Bad request",
    5: "Unsupported protocol version",
}


async def socket(node: Node, target: str) -> WebSocket:
    """A WebSocket without a subprotocol, open or refused."""
    return await node.websocket(target, "http", None)


class SuiteTests(ServingTests):
    """What both suites need."""

    def refused(self, answer: Answer, code: int) -> None:
        """400, and the body of stock servers."""
        said = {"code": code, "message": MESSAGES[code]}
        self.assertEqual((answer.status, answer.json), (400, said))

    async def ended(self, client: PollingClient) -> None:
        """Nobody knows the session any more."""
        self.refused(await client.poll(), 1)


class HandshakeTests(SuiteTests):
    """Engine.IO: handshake."""

    async def test_opens_a_session(self) -> None:
        node = await self.serve("--max-frame=100000")
        for kind, upgrades in ((PollingClient, ["websocket"]), (SocketClient, [])):
            handshake = (await kind.open(node)).handshake
            sid = handshake.pop("sid")
            self.assertRegex(sid, r"^[A-Za-z0-9_-]{20}$")
            limits = {"pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 100000}
            self.assertEqual(handshake, {"upgrades": upgrades, **limits})

    async def test_the_payload_is_text_and_not_kept(self) -> None:
        node = await self.serve()
        answer = await node.get(path("polling"))
        self.assertEqual(answer.header("content-type"), "text/plain; charset=UTF-8")
        self.assertEqual(answer.header("cache-control"), "no-store, no-transform")

    async def test_fails_with_what_is_no_text(self) -> None:
        node = await self.serve()
        for name in ("username", "token", "sid", "EIO", "transport"):
            for transport in ("polling", "websocket"):
                target = f"/socket.io/?{name}=%ff&EIO=4&transport={transport}"
                if transport == "polling":
                    answer = await node.get(target)
                else:
                    answer = (await socket(node, target)).answer
                self.assertEqual(answer.status, 400, target)
        answer = await node.get("/socket.io/?EIO=4&transport=polling&sid=%ff")
        self.assertEqual(answer.json, {"code": 3, "message": "The parameter sid is not UTF-8."})
        self.assertEqual(node.service.admission.connections.total, 0)

    async def test_takes_any_subprotocol(self) -> None:
        node = await self.serve()
        for offered, taken in (("a, b", "a"), ("chatd.v1", "chatd.v1"), (None, None)):
            opened = await node.websocket(path("websocket"), "http", offered)
            self.assertEqual(opened.answer.header("sec-websocket-protocol"), taken)
            self.assertEqual((await opened.receive_text())[0], "0")

    async def test_fails_with_an_invalid_query_parameter(self) -> None:
        node = await self.serve()
        for query, code in QUERIES.values():
            self.refused(await node.get(f"/socket.io/{query.format('polling')}"), code)
            refused = await socket(node, f"/socket.io/{query.format('websocket')}")
            self.refused(refused.answer, code)
        self.assertEqual(node.service.admission.connections.total, 0)

    async def test_fails_with_an_invalid_request_method(self) -> None:
        node = await self.serve()
        for method in ("POST", "PUT", "DELETE", "X"):
            self.refused(await node.request(method, path("polling"), b""), 2)
        head = await node.request("HEAD", path("polling"))
        self.assertEqual(head.status, 400)
        self.assertEqual(node.service.admission.connections.total, 0)

    async def test_fails_with_another_transport_than_it_comes_by(self) -> None:
        node = await self.serve()
        self.refused(await node.get(path("websocket")), 3)
        self.refused((await socket(node, path("polling"))).answer, 3)


class MessageTests(SuiteTests):
    """Engine.IO: message; a message that is published comes back."""

    async def joined(self, node: Node, kind: Any) -> Any:
        client = await kind.open(node, username="ann")
        await client.connect()
        await client.ask("join", {"room": "lobby"})
        return client

    async def test_sends_and_receives_packets(self) -> None:
        """One packet in a payload, and several."""
        node = await self.serve()
        for kind in CLIENTS:
            client = await self.joined(node, kind)
            for texts in (["hello"], ["1", "2", "3"]):
                said = [["message", {"room": "lobby", "text": text}] for text in texts]
                await client.send(*(f"42{json.dumps(one)}" for one in said))
                for text in texts:
                    self.assertEqual((await client.find("message"))["text"], text)

    async def test_closes_the_session_upon_an_invalid_packet(self) -> None:
        node = await self.serve()
        for body in ("abc", "", "7", "2", "2probe", "5", "0", "3\x1eabc", b"4\xff", "4abc"):
            polling = await PollingClient.open(node)
            self.refused(await polling.post(body), 3)
            await self.ended(polling)
            carried = await SocketClient.open(node)
            if isinstance(body, str) and "\x1e" not in body:
                await carried.send(body)
                self.assertEqual((await carried.closed()).code, 4400)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_closes_the_session_upon_bytes(self) -> None:
        node = await self.serve()
        client = await PollingClient.open(node)
        answer = await client.post("40", content_type="application/octet-stream")
        self.refused(answer, 3)
        await self.ended(client)

    async def test_closes_the_session_upon_a_media_type_it_cannot_read(self) -> None:
        node = await self.serve()
        for type in ("text/plain; charset=foo", "text/plain; x=" + "y" * 1000):
            client = await PollingClient.open(node)
            self.assertEqual((await client.post("40", content_type=type)).status, 415)
            await self.ended(client)

    async def test_closes_the_session_upon_duplicate_polls(self) -> None:
        node = await self.serve()
        client = await PollingClient.open(node)
        first = await node.ask("GET", client.path)
        await until(lambda: node.service.ways.api.in_hand == 1)
        self.refused(await client.poll(), 3)
        answer = await first.answer()
        self.assertEqual((answer.status, answer.body), (200, b"1"))
        await self.ended(client)

    async def test_closes_the_session_upon_duplicate_posts(self) -> None:
        node = await self.serve()
        client = await PollingClient.open(node)
        first = await node.ask("POST", client.path, b"", content_length="2")
        await until(lambda: node.service.ways.api.in_hand == 1)
        self.refused(await client.post("40"), 3)
        first.raw.send(b"40")
        self.refused(await first.answer(), 1)
        await self.ended(client)

    async def test_closes_the_session_upon_a_cancelled_poll(self) -> None:
        node = await self.serve()
        client = await PollingClient.open(node)
        poll = await node.ask("GET", client.path)
        await until(lambda: node.service.ways.api.in_hand == 1)
        poll.raw.abort()
        await until(lambda: node.service.ways.api.in_hand == 0)
        await self.ended(client)


class HeartbeatTests(SuiteTests):
    """Engine.IO and Socket.IO: heartbeat."""

    async def test_sends_pings(self) -> None:
        node = await self.serve()
        for kind in CLIENTS:
            client = await kind.open(node)
            await client.connect()
            for _ in range(3):
                node.clock.advance(26)
                self.assertEqual(await client.receive(), "2")
                await client.send("3")
                await client.ask("leave", {"room": "lobby"})  # that has been read, too

    async def test_closes_the_session_upon_ping_timeout(self) -> None:
        node = await self.serve()
        polling, carried = await PollingClient.open(node), await SocketClient.open(node)
        for client in (polling, carried):
            await client.connect()
        for _ in range(2):
            node.clock.advance(26)
            await node.get("/healthz")
        await until(lambda: node.service.admission.connections.total == 0)
        await self.ended(polling)
        with self.assertRaises(ConnectionError):
            await carried.closed()

    async def test_a_poll_that_waits_is_told_of_it(self) -> None:
        node = await self.serve()
        client = await PollingClient.open(node)
        node.clock.advance(26)
        self.assertEqual(await client.receive(), "2")
        poll = await node.ask("GET", client.path)
        await until(lambda: node.service.ways.api.in_hand == 1)
        node.clock.advance(21)
        self.assertEqual((await poll.answer()).body, b"1")
        await self.ended(client)


class CloseTests(SuiteTests):
    """Engine.IO and Socket.IO: close."""

    async def test_forcefully_closes_the_session(self) -> None:
        node = await self.serve()
        client = await PollingClient.open(node)
        poll = await node.ask("GET", client.path)
        await until(lambda: node.service.ways.api.in_hand == 1)
        await client.send("1")
        answer = await poll.answer()
        self.assertEqual((answer.status, answer.body), (200, b"6"))
        await self.ended(client)
        carried = await SocketClient.open(node)
        await carried.send("1")
        self.assertEqual((await carried.closed()).code, 1000)
        await until(lambda: node.service.admission.connections.total == 0)


class UpgradeTests(SuiteTests):
    """Engine.IO and Socket.IO: upgrade."""

    async def test_upgrades(self) -> None:
        """Polls end at once, and the session goes on: rooms, and what was not polled for."""
        node = await self.serve()
        client = await PollingClient.open(node, username="ann")
        await client.connect()
        await client.ask("join", {"room": "lobby"})
        while (answer := await node.ask("GET", client.path)) and client._packets:
            pass
        carried = await client.probe()
        noop = await answer.answer()
        self.assertEqual((noop.status, noop.body[-1:]), (200, b"6"))
        await client.post('421["message",{"room":"lobby","text":"posted before"}]')
        await carried.send("5")
        said = [await carried.packet(), await carried.packet()]
        self.assertTrue(any("posted before" in packet for packet in said), said)
        self.assertTrue(any(packet.startswith("431[") for packet in said), said)
        self.assertEqual(node.service.admission.connections.total, 1)
        self.assertEqual(node.service.chat.presence.members("lobby").names, ["ann"])
        await carried.emit("message", {"room": "lobby", "text": "hello"})
        self.assertEqual((await carried.find("message"))["text"], "hello")

    async def test_nothing_of_the_polls_is_kept_after_the_upgrade(self) -> None:
        """Also by the rooms that were joined before it."""
        node = await self.serve()
        client = await PollingClient.open(node, username="ann")
        await client.connect()
        await client.ask("join", {"room": "lobby"})
        polled = weakref.ref(node.service.ways.socketio._sessions.polling(client.sid))
        carried = await client.upgrade()
        self.assertIsNone(await carried.ask("typing", {"room": "lobby"}))
        clock = node.service.chat.clock  # knows its last calls, until there are many others
        for _ in range(1000):
            clock.callLater(0, int).cancel()
        gc.collect()
        self.assertIsNone(polled())

    async def test_what_waits_to_be_answered_is_answered_after_the_upgrade(self) -> None:
        """A large answer waits for a poll; what else is held comes before it."""
        node = await self.serve()
        client = await PollingClient.open(node)
        await client.connect(username="ann")
        carried = await client.probe()
        await client.post('421["leave",{"room":"lobby"}]\x1e422["join",{"room":"lobby"}]')
        await carried.send("5")
        self.assertEqual((await carried.packet())[:4], "431[")
        self.assertEqual((await carried.packet())[:4], "432[")
        self.assertEqual(
            (await carried.ask("message", {"room": "lobby", "text": "x"}))["type"], "ack"
        )

    async def test_ignores_requests_with_the_same_sid_after_an_upgrade(self) -> None:
        node = await self.serve()
        client = await PollingClient.open(node)
        carried = await client.upgrade()
        self.assertEqual(await carried.connect(username="ann"), "ann")
        self.refused(await client.poll(), 3)
        self.refused(await client.post("40"), 3)
        other = await socket(node, path("websocket", sid=client.sid))
        self.refused(other.answer, 3)
        self.assertEqual((await carried.ask("join", {"room": "lobby"}))["count"], 1)

    async def test_only_one_at_a_time_may_upgrade(self) -> None:
        node = await self.serve()
        client = await PollingClient.open(node)
        carried = await client.probe()
        other = await socket(node, path("websocket", sid=client.sid))
        self.refused(other.answer, 3)
        await carried.send("5")
        self.assertEqual(await carried.connect(username="ann"), "ann")

    async def test_probes_that_lie_leave_the_session_as_it_was(self) -> None:
        node = await self.serve()
        client = await PollingClient.open(node, username="ann")
        await client.connect()
        for said in (["2"], ["5"], ["2probe", "2probe"], ["2probe", "40"], ["4"], ["\x1e"], []):
            raw = await socket(node, path("websocket", sid=client.sid))
            carried = SocketClient(raw)
            await carried.send(*said)
            if not said:
                node.clock.advance(11)
            await carried.closed()
            self.assertEqual((await client.ask("join", {"room": "lobby"}))["type"], "joined")
            self.assertEqual(node.service.admission.connections.total, 1)
        self.assertEqual(await (await client.upgrade()).ask("typing", {"room": "lobby"}), None)

    async def test_an_upgrade_ends_with_the_session(self) -> None:
        node = await self.serve()
        client = await PollingClient.open(node)
        carried = await client.probe()
        await client.send("1")
        await carried.closed()
        await until(lambda: node.service.admission.connections.total == 0)

    async def test_nothing_is_upgraded_that_is_not_there(self) -> None:
        node = await self.serve()
        self.refused((await socket(node, path("websocket", sid="x"))).answer, 1)


class NamespaceTests(SuiteTests):
    """Socket.IO: connect and disconnect."""

    async def test_allows_connection_to_the_main_namespace(self) -> None:
        node = await self.serve()
        for kind in CLIENTS:
            for said in ("40", '40{"token":"123"}', "40{}"):
                client = await kind.open(node)
                await client.send(said)
                answer = await client.packet()
                self.assertEqual(list(json.loads(answer[2:])), ["sid"], answer)
                self.assertNotEqual(json.loads(answer[2:])["sid"], client.handshake["sid"])
                self.assertTrue((await client.packet()).startswith('42["welcome",'))

    async def test_disallows_connection_to_other_namespaces(self) -> None:
        node = await self.serve()
        for kind in CLIENTS:
            client = await kind.open(node)
            for said in ("40/random", "40/random,", '40/random,{"token":"abc"}'):
                await client.send(said)
                refused = '44/random,{"message":"Invalid namespace"}'
                self.assertEqual(await client.packet(), refused)
            self.assertEqual(await client.connect(username="ann"), "ann")

    async def test_closes_what_begins_otherwise(self) -> None:
        node = await self.serve()
        for said in ("4abc", '42["join",{"room":"lobby"}]', "41", "43[]", '44{"message":"x"}'):
            carried = await SocketClient.open(node)
            await carried.send(said)
            self.assertEqual((await carried.closed()).code, 4400)

    async def test_closes_if_no_handshake_is_received(self) -> None:
        node = await self.serve()
        carried, polling = await SocketClient.open(node), await PollingClient.open(node)
        node.clock.advance(26)
        for client in (carried, polling):
            self.assertEqual(await client.receive(), "2")
            await client.send("3", "40/nowhere")
            self.assertTrue((await client.receive()).startswith("44/nowhere,"))
        node.clock.advance(20)
        self.assertEqual((await carried.closed()).code, 4400)
        self.assertEqual((await polling.poll()).body, b"1")
        await self.ended(polling)

    async def test_disconnects_from_the_main_namespace(self) -> None:
        node = await self.serve()
        for kind in CLIENTS:
            client = await kind.open(node)
            await client.connect(username="ann")
            await client.ask("join", {"room": "lobby"})
            await client.send("41")
            await until(lambda: node.service.chat.presence.local() == {})
            node.clock.advance(26)
            self.assertEqual(await client.receive(), "2")
            await client.send("3")
            self.assertEqual(await client.connect(username="bob"), "bob")
            self.assertEqual((await client.ask("join", {"room": "lobby"}))["members"], ["bob"])
            await client.send("41")

    async def test_connects_once(self) -> None:
        node = await self.serve()
        client = await SocketClient.open(node)
        await client.connect()
        await client.send("40")
        await client.closed()


class EventTests(SuiteTests):
    """Socket.IO: message."""

    async def connected(self, node: Node, kind: Any) -> Any:
        client = await kind.open(node)
        await client.connect(username="ann")
        return client

    async def test_acknowledges(self) -> None:
        """With the id that was given, and nobody else's."""
        node = await self.serve()
        for kind in CLIENTS:
            client = await self.connected(node, kind)
            await client.send('42456["message",{"room":"lobby","text":"x","id":"k","more":[1]}]')
            self.assertEqual(await client.packet(), '43456[{"type":"ack","room":"lobby","id":"k"}]')

    async def test_refuses_binary_and_goes_on(self) -> None:
        node = await self.serve()
        text = '"text":"Send text: binary is not taken here."'
        placeholder = '{"_placeholder":true,"num":0}'
        for kind in CLIENTS:
            client = await self.connected(node, kind)
            await client.send(f'451-789["message",{placeholder}]')
            said = await client.packet()
            self.assertTrue(said.startswith('43789[{"type":"error","code":"bad_request"'), said)
            self.assertIn(text, said)
            await self._bytes(client)
            self.assertIsNone((await client.ask("leave", {"room": "lobby"})).get("code"))
            await self._bytes(client)
            refused = await client.find("error")
            self.assertEqual(refused["text"], "Send text: binary is not taken here.")
            await client.send('461-1[{"_placeholder":true,"num":0}]')
            await self._bytes(client)
            self.assertEqual((await client.ask("leave", {"room": "lobby"}))["type"], "left")

    async def _bytes(self, client: Any) -> None:
        if isinstance(client, SocketClient):
            client.socket.frame(b"\x01\x02", 2)
        else:
            await client.send("bAQI=")

    async def test_closes_upon_invalid_formats(self) -> None:
        node = await self.serve()
        for said in ("4abc", "42{}", '42abc["x"]', '42/other,["x"]', '4511-["x"]', '451-["x"]'):
            carried = await self.connected(node, SocketClient)
            await carried.send(said, '42["x"]')
            await carried.closed()
            polling = await self.connected(node, PollingClient)
            self.refused(await polling.post(f'{said}\x1e42["x"]'), 3)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_both_paths(self) -> None:
        """Clients may leave the slash out."""
        node = await self.serve()
        one, two = await together(
            node.get("/socket.io?EIO=4&transport=polling"),
            node.get("/socket.io/?EIO=4&transport=polling&t=1&b64=1"),
        )
        self.assertEqual((one.status, two.status), (200, 200))
