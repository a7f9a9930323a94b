"""Between chatd and RabbitMQ stands one that confirms and does not store, stores and does not
confirm, stores late, or twice. Every message is acknowledged all the same, at the latest when it is
sent again, and is in every reader's list once, in its writer's order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.amqp_liar import Liar
from tests.support.lying_broker import Lie
from tests.support.rabbit import shared_node
from tests.support.serving import Node, PreparedTests
from tests.support.waiting import until, until_of
from tests.support.ws_client import WebSocket

pytestmark = pytest.mark.rabbitmq

ADMIN = "Bearer the-admin-key-of-these-tests"
LIES = (Lie.CONFIRM_ONLY, Lie.STORE_LATE, Lie.STORE_ONLY, Lie.STORE_TWICE, Lie.DROP)


def once(lie: Lie, *parts: bytes) -> Callable[[bytes], Lie]:
    """Lie about the first record that has each of ``parts`` in it."""
    left = set(parts)

    def said(body: bytes) -> Lie:
        for part in left:
            if part in body:
                left.discard(part)
                return lie
        return Lie.NONE

    return said


def from_there_on(lie: Lie, name: str, number: int) -> Callable[[bytes], Lie]:
    """Lie about the message with this name and number and all of the name after it, when they are
    sent first: what is lost on a channel of one stream takes all after it along."""
    seen: set[bytes] = set()
    first = f'"{name}-{number:02}"'.encode()

    def said(body: bytes) -> Lie:
        if body in seen or not (seen or first in body) or name.encode() not in body:
            return Lie.NONE
        seen.add(body)
        return lie

    return said


class LyingBrokerTests(PreparedTests):
    timeout = 100

    async def prepare(self) -> None:
        rabbit = shared_node()
        self.vhost = rabbit.vhost()
        self.addCleanup(rabbit.drop_vhost, self.vhost)
        self.liar = Liar(rabbit.port)
        self.addCleanup(self.liar.stop)
        port = await self.liar.start()
        key = Path(self.mktemp())
        key.write_text(ADMIN.removeprefix("Bearer "))
        options = ("--rate", "1000/s", "--admin-key", str(key))
        through = rabbit.url(self.vhost).replace(f":{rabbit.port}/", f":{port}/")
        self.one: Node = await self.serve("--broker", through, *options)
        self.other: Node = await self.serve("--broker", rabbit.url(self.vhost), *options)

    async def acked(self, socket: WebSocket, ids: list[str]) -> None:
        """All of ``ids`` are acknowledged, and nothing is refused."""
        missing = set(ids)
        while missing:
            frame = await socket.receive()
            self.assertNotEqual(frame["type"], "error", frame)
            if frame["type"] == "ack":
                missing.discard(frame["id"])

    async def heard(self, node: Node, count: int) -> list[str]:
        answer = await node.get(f"/rooms/lobby/messages?last={count + 10}")
        return [message["id"] for message in answer.json["messages"]]

    def say_many(self, ann: WebSocket, name: str) -> list[str]:
        """Twenty messages of one connection at once; their ids."""
        ids = [f"{name}-{n:02}" for n in range(20)]
        for id in ids:
            ann.send({"type": "message", "room": "lobby", "id": id, "text": name})
        return ids

    async def all_hear(self, readers: list[WebSocket]) -> list[str]:
        """What all readers heard and all nodes have: the same."""
        await self.one.post("/rooms/lobby/messages?username=ann", {"id": "end", "text": ""})
        heard: list[list[str]] = []
        for reader in readers:
            ids: list[str] = []
            while ids[-1:] != ["end"]:
                ids.append((await reader.find("message"))["id"])
            heard.append(ids)
        heard += [await self.heard(node, 200) for node in (self.one, self.other)]
        for ids in heard:
            self.assertEqual(ids, heard[0])
        return heard[0][:-1]

    async def test_every_lie_about_those_from_one_on(self) -> None:
        ann = await self.one.chat("ann", "lobby")
        readers = [await node.chat("bob", "lobby") for node in (self.one, self.other)]
        expected: list[str] = []
        late = 0
        for lie in LIES:
            self.liar.lies = 0
            self.liar.lie = from_there_on(lie, lie.name, 7)
            expected += (ids := self.say_many(ann, lie.name))
            await self.acked(ann, ids)
            self.assertEqual(self.liar.lies, 13)
            late += self.liar.lies * (lie is Lie.STORE_LATE)
        await until(lambda: self.liar.stored_late == late)
        self.assertEqual(await self.all_hear(readers), expected)
        text = (await self.one.get("/metrics")).body.decode()
        counted = {
            line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line[0] != "#"
        }
        self.assertGreaterEqual(counted["chatd_false_confirms_total"], 3)
        self.assertGreaterEqual(counted["chatd_unconfirmed_resent_total"], 3)

    async def test_every_lie_about_some_of_many(self) -> None:
        """Those that come after one that is not stored are stored: it must not come behind them, as
        if it had been said later, unless its sender sends it again."""
        ann = await self.one.chat("ann", "lobby")
        readers = [await node.chat("bob", "lobby") for node in (self.one, self.other)]
        said: list[str] = []
        again: list[str] = []
        for lie in (lie for lie in LIES if lie is not Lie.STORE_LATE):
            self.liar.lie = once(lie, *(f'"{lie.name}-{n:02}"'.encode() for n in (0, 7, 19)))
            said += (ids := self.say_many(ann, lie.name))
            overtaken = await self.answered(ann, ids)
            for id in overtaken:
                ann.send({"type": "message", "room": "lobby", "id": id, "text": lie.name})
            await self.acked(ann, overtaken)
            again += overtaken
        heard = await self.all_hear(readers)
        self.assertEqual(sorted(heard), sorted(said))
        self.assertEqual(again, ["CONFIRM_ONLY-07", "DROP-00", "DROP-07"])
        in_order = [id for id in said if id not in again]
        self.assertEqual([id for id in heard if id not in again], in_order)

    async def answered(self, socket: WebSocket, ids: list[str]) -> list[str]:
        """All of ``ids`` are answered; those that are not acknowledged."""
        refused: list[str] = []
        missing = set(ids)
        while missing:
            frame = await socket.receive()
            if frame["type"] in ("ack", "error"):
                missing.remove(frame["id"])
            if frame["type"] == "error":
                self.assertEqual((frame["code"], frame.get("stored")), ("unavailable", None))
                refused.append(frame["id"])
        return refused

    async def test_over_http(self) -> None:
        path = "/rooms/lobby/messages?username=ann"
        for lie in LIES:
            self.liar.lie = once(lie, f'"{lie.name}"'.encode())
            answer = await self.one.post(path, {"id": lie.name, "text": "hello"})
            self.assertEqual((answer.status, answer.json), (201, {"id": lie.name}))
        await until(lambda: self.liar.stored_late == 1)
        for node in (self.one, self.other):
            self.assertEqual(await self.heard(node, 9), [lie.name for lie in LIES])

    async def test_a_broker_that_never_stores(self) -> None:
        """The answer is `unavailable`, with the id, and does not say that nothing was stored."""
        self.liar.lie = lambda body: Lie.CONFIRM_ONLY if b'"lost"' in body else Lie.NONE
        path = "/rooms/lobby/messages?username=ann"
        answer = await self.one.post(path, {"id": "lost", "text": "hello"})
        self.assertEqual((answer.status, answer.code), (503, "unavailable"))
        self.assertEqual(answer.json["id"], "lost")
        self.assertNotIn("stored", answer.json)
        self.assertEqual(await self.heard(self.one, 9), [])
        self.liar.lie = lambda body: Lie.NONE
        again = await self.one.post(path, {"id": "lost", "text": "hello"})
        self.assertEqual(again.status, 201)
        self.assertEqual(await self.heard(self.other, 9), ["lost"])

    async def test_channels_that_go_on_lying(self) -> None:
        """What is sent again is lost again, and is the same, its time included."""
        sent: list[bytes] = []

        def said(body: bytes) -> Lie:
            if b'"k"' in body:
                sent.append(body)
            return Lie.CONFIRM_ONLY if body and sent and len(sent) <= 2 else Lie.NONE

        self.liar.lie = said
        answer = await self.one.post("/rooms/lobby/messages?username=ann", {"id": "k", "text": "x"})
        self.assertEqual(answer.status, 201)
        self.assertEqual((len(sent), len(set(sent))), (3, 1))

    async def test_rooms_are_made_and_deleted(self) -> None:
        directory = self.other.service.chat.directory
        for lie in LIES:
            room = f"room-{lie.name}"
            self.liar.lie = once(lie, room.encode())
            made = await self.one.request("PUT", f"/rooms/{room}", {}, authorization=ADMIN)
            self.assertEqual(made.status, 201)
            await until_of(room, directory.find)
            self.liar.lie = once(lie, b'"delete"')
            gone = await self.one.request("DELETE", f"/rooms/{room}", authorization=ADMIN)
            self.assertEqual(gone.status, 204)
            await until_of(room, lambda name: directory.find(name) is None)

    async def test_a_room_s_first_fence(self) -> None:
        """A stream that is empty gets an empty record, which may be lost too."""
        self.liar.lie = once(Lie.CONFIRM_ONLY, b"")
        ben = await self.one.chat("ben", "lobby")
        await ben.say("lobby", "hello", id="k")
        made = await self.one.request("PUT", "/rooms/new", {}, authorization=ADMIN)
        self.assertEqual(made.status, 201)
        empty: list[bytes] = []

        def said(body: bytes) -> Lie:
            if not body:
                empty.append(body)
            return Lie.CONFIRM_ONLY if not body and len(empty) < 3 else Lie.NONE

        self.liar.lie = said
        joined = await ben.join("new")
        self.assertEqual(joined["type"], "joined")
        self.assertEqual(len(empty), 3)

    async def test_not_ready_while_the_directory_is_not_stored(self) -> None:
        readiness = self.one.service.node.readiness
        self.liar.lie = lambda body: Lie.CONFIRM_ONLY if b'"probe"' in body else Lie.NONE
        readiness.doubt()
        await until(lambda: not readiness.ready)
        self.assertEqual((await self.one.get("/readyz")).status, 503)
        self.liar.lie = lambda body: Lie.NONE
        await until(lambda: readiness.ready)
        self.assertEqual((await self.one.get("/readyz")).status, 200)
