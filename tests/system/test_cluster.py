"""Two chatd nodes on one RabbitMQ are one chat: one order, one list of rooms and of people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from chatd.protocol.timestamps import format_time
from tests.support.daemon import Daemon
from tests.support.http_client import EventStream
from tests.support.rabbit import shared_node
from tests.support.serving import Node, PreparedTests
from tests.support.talk import Talker, Writer
from tests.support.waiting import pause, together, until
from tests.support.ws_client import WebSocket

pytestmark = pytest.mark.rabbitmq

ADMIN = "Bearer the-admin-key-of-these-tests"


async def messages(socket: WebSocket, number: int) -> list[bytes]:
    """The next messages, byte for byte."""
    found: list[bytes] = []
    while len(found) < number:
        if (await socket.receive())["type"] == "message":
            found.append(socket.payload)
    return found


class ClusterTests(PreparedTests):
    """What either node says, the other knows."""

    async def prepare(self) -> None:
        rabbit = shared_node()
        self.vhost = rabbit.vhost()
        self.addCleanup(rabbit.drop_vhost, self.vhost)
        self.url = rabbit.url(self.vhost)
        key = Path(self.mktemp())
        key.write_text(ADMIN.removeprefix("Bearer "))
        options = ("--broker", self.url, "--rate", "1000/s", "--admin-key", str(key))
        self.one: Node = await self.serve(*options)
        self.other: Node = await self.serve(*options)

    # -- messages ----------------------------------------------------------------------------------

    async def test_one_order_and_the_same_bytes(self) -> None:
        """Both nodes publish at once; everyone everywhere hears the same."""
        sockets = [
            await node.chat(f"user{n}", "lobby")
            for n, node in enumerate([self.one, self.other, self.one, self.other])
        ]
        for n, socket in enumerate(sockets):
            for k in range(50):
                request = {"type": "message", "room": "lobby", "id": f"{n}-{k}", "text": "ä" * k}
                socket.send(request)
        heard = await together(*(messages(socket, 200) for socket in sockets))
        self.assertEqual(heard[1:], heard[:1] * 3)
        ids = [json.loads(message)["id"] for message in heard[0]]
        self.assertEqual(sorted(ids), sorted(f"{n}-{k}" for n in range(4) for k in range(50)))

    async def test_a_cursor_works_on_every_node_and_transport(self) -> None:
        ann = await self.one.chat("ann", "lobby")
        for n in range(6):
            await ann.say("lobby", f"text {n}", id=f"id{n}")
        ben = await self.one.chat("ben")
        await ben.join("lobby", last=6)
        read = [json.loads(message) for message in await messages(ben, 6)]
        cursor = read[2]["cursor"]

        page = (await self.other.get(f"/rooms/lobby/messages?after={cursor}")).json
        self.assertEqual(page["messages"], read[3:])
        self.assertFalse(page["gap"])
        ben = await self.other.chat("ben")
        joined = await ben.join("lobby", after=cursor)
        self.assertFalse(joined["gap"])
        self.assertEqual([json.loads(m) for m in await messages(ben, 3)], read[3:])
        stream: EventStream = await self.other.events("/rooms/lobby/events", last_event_id=cursor)
        self.addCleanup(stream.close)
        self.assertEqual([(await stream.message()).data for _ in range(3)], read[3:])

    async def test_the_position_of_a_room_nobody_wrote_in(self) -> None:
        """Joined while the room is empty, resumed elsewhere later: all that was said, no gap."""
        joined = await (await self.one.chat("ann")).join("lobby")
        ben = await self.one.chat("ben", "lobby")
        await ben.say("lobby", "first")
        resumed = await (await self.other.chat("cat")).join("lobby", after=joined["cursor"])
        self.assertFalse(resumed["gap"])
        page = (await self.other.get(f"/rooms/lobby/messages?after={joined['cursor']}")).json
        self.assertEqual([m["text"] for m in page["messages"]], ["first"])
        self.assertFalse(page["gap"])

    async def test_an_id_published_through_both_nodes_is_shown_once(self) -> None:
        listeners = [await node.chat("cat", "lobby") for node in (self.one, self.other)]
        body = {"id": "same", "text": "said twice"}
        path = "/rooms/lobby/messages?username=ann"
        answers = await together(self.one.post(path, body), self.other.post(path, body))
        for answer in answers:
            self.assertIn(answer.status, (200, 201))
            self.assertEqual(answer.json, {"id": "same"})
        await self.one.post(path, {"id": "last", "text": "end"})
        heard = await together(*(messages(one, 2) for one in listeners))
        self.assertEqual(heard[0], heard[1])
        self.assertEqual([json.loads(m)["id"] for m in heard[0]], ["same", "last"])
        for node in (self.one, self.other):
            page = (await node.get("/rooms/lobby/messages?last=10")).json
            self.assertEqual([m["id"] for m in page["messages"]], ["same", "last"])

    async def test_a_poll_that_waits_is_woken_from_the_other_node(self) -> None:
        now = (await self.other.get("/rooms/lobby/messages")).json["cursor"]
        waiting = await self.other.ask("GET", f"/rooms/lobby/messages?after={now}&wait=30")
        await self.one.post("/rooms/lobby/messages?username=ann", {"text": "wake up"})
        answer = await waiting.answer()
        self.assertEqual([m["text"] for m in answer.json["messages"]], ["wake up"])

    # -- rooms -------------------------------------------------------------------------------------

    async def _known(self, node: Node, room: str) -> bool:
        return (await node.get(f"/rooms/{room}")).status == 200

    async def test_a_room_made_on_one_node_is_there_on_the_other(self) -> None:
        setup = await self.one.raw("setup")
        setup.send(b'{"roomname":"kitchen","status":"status","op":"create_room"}\n')
        self.assertEqual(await setup.until(b"\n"), b"200")
        await until(lambda: self.other.service.chat.directory.find("kitchen"))
        ann, ben = await self.one.chat("ann", "kitchen"), await self.other.chat("ben", "kitchen")
        await ben.say("kitchen", "soup")
        self.assertEqual((await ann.find("message"))["text"], "soup")

    async def test_both_nodes_make_the_same_room_at_once(self) -> None:
        answers = await together(
            *(
                node.request("PUT", "/rooms/twice", {}, authorization=ADMIN)
                for node in (self.one, self.other)
            )
        )
        self.assertLessEqual({answer.status for answer in answers}, {200, 201})
        ann, ben = await self.one.chat("ann", "twice"), await self.other.chat("ben", "twice")
        await ann.say("twice", "one room")
        self.assertEqual((await ben.find("message"))["text"], "one room")

    async def test_a_room_deleted_on_one_node_ends_on_the_other(self) -> None:
        ben = await self.other.chat("ben", "lobby")
        waiting = await self.other.ask("GET", "/rooms/lobby/messages?wait=30&last=1")
        gone = await self.one.request("DELETE", "/rooms/lobby", authorization=ADMIN)
        self.assertEqual(gone.status, 204)
        self.assertEqual((await ben.find("left"))["room"], "lobby")
        self.assertEqual((await ben.find("error"))["code"], "unknown_room")
        self.assertEqual((await waiting.answer()).status, 404)

    async def test_a_member_removed_on_one_node_leaves_on_the_other(self) -> None:
        for method, path, body in (
            ("PUT", "/rooms/attic", {"private": True}),
            ("PUT", "/rooms/attic/members/ben", None),
        ):
            done = await self.one.request(method, path, body, authorization=ADMIN)
            self.assertLess(done.status, 300)
        directory = self.other.service.chat.directory
        await until(lambda: (e := directory.find("attic")) is not None and "ben" in e.members)
        ben = await self.other.chat("ben", "attic")
        cat = await self.other.chat("cat")
        self.assertEqual((await cat.ask({"type": "join", "room": "attic"}))["code"], "forbidden")
        done = await self.one.request("DELETE", "/rooms/attic/members/ben", authorization=ADMIN)
        self.assertEqual(done.status, 204)
        await ben.find("left")
        self.assertEqual((await ben.find("error"))["code"], "forbidden")

    # -- people ------------------------------------------------------------------------------------

    async def test_presence_is_one_list(self) -> None:
        ann = await self.one.chat("ann", "lobby")
        ben = await self.other.chat("ben", "lobby")
        while "ben" not in (await ann.find("presence"))["joined"]:
            pass
        await until(lambda: self._here(self.other) == {"ann", "ben"})
        info = (await self.other.get("/rooms/lobby")).json
        self.assertEqual((sorted(info["members"]), info["count"]), (["ann", "ben"], 2))

        # the same user on both nodes is one member, until the last connection goes
        again = await self.one.chat("ben", "lobby")
        await until(lambda: self.one.service.chat.presence.members("lobby").count == 2)
        ben.raw.abort()
        again.raw.abort()
        await until(lambda: self._here(self.one) == self._here(self.other) == {"ann"})

    def _here(self, node: Node) -> set[str]:
        return set(node.service.chat.presence.members("lobby").names)

    async def test_typing_is_shown_on_the_other_node(self) -> None:
        ann = await self.one.chat("ann", "lobby")
        ben = await self.other.chat("ben", "lobby")
        ben.send({"type": "typing", "room": "lobby"})
        shown = await ann.find("typing")
        self.assertEqual(shown, {"type": "typing", "room": "lobby", "user": "ben"})

    # -- nodes that go -----------------------------------------------------------------------------

    async def test_a_node_that_drains_sends_its_clients_on_with_nothing_lost(self) -> None:
        ann = await self.one.chat("ann", "lobby")
        ben = await self.other.chat("ben", "lobby")
        await ann.say("lobby", "one", id="1")
        cursor = (await ben.find("message"))["cursor"]
        draining = self.other.drain()
        self.assertEqual((await ben.find("bye"))["reason"], "restart")
        self.assertEqual((await ben.closed()).code, 1012)
        await draining
        await ann.say("lobby", "two", id="2")
        back = await self.one.chat("ben")
        await back.join("lobby", after=cursor)
        self.assertEqual((await back.find("message"))["id"], "2")
        await until(lambda: self._here(self.one) == {"ann", "ben"})

    async def test_a_node_that_is_killed(self) -> None:
        """What it acknowledged is kept, what it did not can be sent again through another with
        the same id, and within 30 s its users are gone."""
        daemon = Daemon("--rate", "100000/s", broker=self.url)
        self.addCleanup(lambda: daemon.close())
        ann = await self.one.chat("ann", "lobby")
        talker = await Talker.join(daemon.websocket, "lobby", "ben")
        await until(lambda: self._here(self.one) == {"ann", "ben"})
        writer = Writer(talker, "lobby", "w")
        writer.start()
        await writer.more()
        daemon.kill()
        killed = self.one.clock.seconds()
        await until(lambda: talker.closed)
        writer.abandon()
        path = "/rooms/lobby/messages?username=ben"
        again = await self.one.post(
            path, {"id": writer.pending, "text": f"text of {writer.pending}"}
        )
        self.assertIn(again.status, (200, 201))
        expected = [*writer.acked, writer.pending]
        heard = [json.loads(m)["id"] for m in await messages(ann, len(expected))]
        self.assertEqual(heard, expected)
        await self.one.post(path, {"id": "end", "text": ""})
        self.assertEqual((await ann.find("message"))["id"], "end")
        while self._here(self.one) != {"ann"}:
            for node in (self.one, self.other):
                node.clock.advance(0.5)
            await pause(0.02)
        self.assertLess(self.one.clock.seconds() - killed, 30)

    # -- neighbours --------------------------------------------------------------------------------

    def _neighbour(self) -> BlockingChannel:
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        self.addCleanup(connection.close)
        return connection.channel()

    async def test_any_amqp_program_may_speak(self) -> None:
        ann, ben = await self.one.chat("ann", "lobby"), await self.other.chat("ben", "lobby")
        neighbour = self._neighbour()
        at = int(self.one.clock.seconds()) - 60
        properties = pika.BasicProperties(
            headers={"user": "cron"}, message_id="job-1", timestamp=at
        )
        neighbour.basic_publish("chatd", "lobby", "Backup done ✓".encode(), properties)
        heard = await together(messages(ann, 1), messages(ben, 1))
        self.assertEqual(heard[0], heard[1])
        message = json.loads(heard[0][0])
        self.assertEqual(
            {name: message[name] for name in ("user", "id", "text", "time")},
            {
                "user": "cron",
                "id": "job-1",
                "text": "Backup done ✓",
                "time": format_time(at * 1000),
            },
        )

    async def test_any_amqp_program_may_listen(self) -> None:
        neighbour = self._neighbour()
        queue = neighbour.queue_declare("", exclusive=True).method.queue
        neighbour.queue_bind(queue, "chatd", "#")
        events = neighbour.queue_declare("", exclusive=True).method.queue
        neighbour.queue_bind(events, "chatd.events", "joined.*")
        ann = await self.one.chat("ann", "lobby")
        await ann.say("lobby", "hello", id="1")
        ben = await self.other.chat("ben", "lobby")
        await ben.say("lobby", "again", id="2")

        said = [await self._next(neighbour, queue) for _ in range(2)]
        self.assertEqual([(m["user"], m["id"]) for _, m in said], [("ann", "1"), ("ben", "2")])
        joined = [await self._next(neighbour, events) for _ in range(2)]
        self.assertEqual([key for key, _ in joined], ["joined.lobby"] * 2)
        self.assertEqual([event["user"] for _, event in joined], ["ann", "ben"])

    async def _next(self, channel: BlockingChannel, queue: str) -> tuple[str, dict[str, Any]]:
        """The next message of a queue: its routing key and its body."""
        while True:
            method, _, body = channel.basic_get(queue, auto_ack=True)
            if method is not None:
                return method.routing_key, json.loads(body)
            await pause(0.01)
