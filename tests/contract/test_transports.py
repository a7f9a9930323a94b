"""One suite for every way to read and write a room: what holds on one transport holds on all."""

from __future__ import annotations

import json
import unicodedata
from typing import Any, Protocol
from unittest.mock import patch
from urllib.parse import quote, urlencode

from chatd.rooms.read_queue import ReadQueue
from tests.support.engine import PollingClient, SocketClient
from tests.support.http_client import EventStream
from tests.support.kept import Kept
from tests.support.serving import Node, ServingTests
from tests.support.waiting import together
from tests.support.ws_client import WebSocket


class Reader(Protocol):
    """One who reads a room over some transport."""

    async def message(self) -> bytes:
        """The next message object, as it came over the wire."""


class SocketReader:
    """``chatd.v1``."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket

    @classmethod
    async def open(cls, node: Node, room: str, user: str, **start: Any) -> SocketReader:
        socket = await node.chat(user)
        await socket.join(room, **start)
        return cls(socket)

    async def message(self) -> bytes:
        await self.socket.find("message")
        return self.socket.payload


class StreamReader:
    """Server-sent events."""

    def __init__(self, stream: EventStream) -> None:
        self.stream = stream

    @classmethod
    async def open(cls, node: Node, room: str, user: str, **start: Any) -> StreamReader:
        query = urlencode({"username": user, **start})
        stream = await node.events(f"/rooms/{quote(room)}/events?{query}")
        assert stream.head.status == 200, stream.head
        return cls(stream)

    async def message(self) -> bytes:
        event = await self.stream.message()
        assert event.id == event.data["cursor"]
        return event.raw


class PollReader:
    """Long-poll with a cursor."""

    def __init__(self, node: Node, path: str, query: dict[str, Any]) -> None:
        self._node = node
        self._path = path
        self._query = query
        self._got: list[bytes] = []

    @classmethod
    async def open(cls, node: Node, room: str, user: str, **start: Any) -> PollReader:
        path = f"/rooms/{quote(room)}/messages"
        if not start:
            start = {"after": (await node.get(path)).json["cursor"]}
        return cls(node, path, {"username": user, "wait": 20, **start})

    async def message(self) -> bytes:
        while not self._got:
            answer = await self._node.get(f"{self._path}?{urlencode(self._query)}")
            assert answer.status == 200, answer
            self._got = objects(answer.body)
            self._query = {"username": self._query["username"], "wait": 20}
            self._query["after"] = answer.json["cursor"]
        return self._got.pop(0)


class CookieReader:
    """``/poll``, whose cursor rides in a cookie."""

    def __init__(self, node: Node, query: dict[str, Any]) -> None:
        self._node = node
        self._query = query
        self._cookie = ""
        self._got: list[bytes] = []

    @classmethod
    async def open(cls, node: Node, room: str, user: str, **start: Any) -> CookieReader:
        reader = cls(node, {"roomname": room, "username": user, "wait": 20, **start})
        if not start:
            await reader._poll()
        return reader

    async def _poll(self) -> None:
        answer = await self._node.get(f"/poll?{urlencode(self._query)}", cookie=self._cookie)
        assert answer.status == 200, answer
        self._cookie = str(answer.header("set-cookie")).partition(";")[0]
        self._query.pop("after", None)
        self._got = objects(answer.body)

    async def message(self) -> bytes:
        while not self._got:
            await self._poll()
        return self._got.pop(0)


class EventReader:
    """Socket.IO over one of its transports."""

    kind: Any

    def __init__(self, client: Any) -> None:
        self._client = client

    @classmethod
    async def open(cls, node: Node, room: str, user: str, **start: Any) -> EventReader:
        client = await cls.kind.open(node, username=user)
        await client.connect()
        answer = await client.ask("join", {"room": room, **start})
        assert answer["type"] == "joined", answer
        return cls(client)

    async def message(self) -> bytes:
        await self._client.find("message")
        return bytes(self._client.raw)


class EventPollReader(EventReader):
    """Socket.IO over polling."""

    kind = PollingClient


class EventSocketReader(EventReader):
    """Socket.IO over WebSocket."""

    kind = SocketClient


def objects(body: bytes) -> list[bytes]:
    """The message objects in the answer to a poll, byte for byte."""
    _, _, rest = body.partition(b'"messages":[')
    array, _, _ = rest.rpartition(b'],"cursor":')
    if not array:
        return []
    parts = array.split(b',{"type":"message",')
    return [parts[0], *(b'{"type":"message",' + part for part in parts[1:])]


async def read(reader: Reader, n: int) -> list[dict[str, Any]]:
    return [json.loads(await reader.message()) for _ in range(n)]


READERS: tuple[Any, ...] = (
    SocketReader,
    StreamReader,
    PollReader,
    CookieReader,
    EventPollReader,
    EventSocketReader,
)


async def publish(node: Node, room: str, *texts: str, user: str = "ben") -> None:
    """Publish ``texts``, one after the other."""
    for text in texts:
        path = f"/rooms/{quote(room)}/messages?username={user}"
        answer = await node.post(path, {"text": text})
        assert answer.status == 201, answer


class OneOrderTests(ServingTests):
    """All transports at once."""

    async def test_identical_objects_in_one_order(self) -> None:
        """A poll, an event stream and two sockets receive the same, byte for byte."""
        node = await self.serve("--rate=10000/s")
        readers = [await kind.open(node, "lobby", "ann") for kind in (*READERS, SocketReader)]
        writers = [await node.chat(f"w{n}") for n in range(3)]

        async def write(socket: WebSocket) -> None:
            for n in range(20):
                await socket.say("lobby", f'{n} «❤» \u2028 \\ "\n\x00', data={"a": [n, None, 1.5]})

        async def gather(reader: Reader) -> list[bytes]:
            return [await reader.message() for _ in range(80)]

        posts = publish(node, "lobby", *(f"{n} by post" for n in range(20)))
        writing = together(*map(write, writers), posts)
        seen = await together(*map(gather, readers))
        await writing
        for other in seen[1:]:
            self.assertEqual(other, seen[0])
        messages = [json.loads(raw) for raw in seen[0]]
        self.assertEqual(len({m["id"] for m in messages}), 80)
        offsets = [int(m["cursor"].partition(":")[2]) for m in messages]
        self.assertEqual(offsets, sorted(set(offsets)))
        for user in ("w0", "w1", "w2", "ben"):
            numbers = [int(m["text"].split()[0]) for m in messages if m["user"] == user]
            self.assertEqual(numbers, list(range(20)))

    async def test_the_message_object(self) -> None:
        node = await self.serve()
        reader = await SocketReader.open(node, "lobby", "ann")
        answer = await node.post(
            "/rooms/lobby/messages?username=ben", {"text": "hi", "id": "k-1", "data": {"x": {}}}
        )
        self.assertEqual((answer.status, answer.json), (201, {"id": "k-1"}))
        raw = await reader.message()
        message = json.loads(raw)
        self.assertRegex(message.pop("cursor"), r"^[0-9a-f]+:0$")
        self.assertRegex(message.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(
            message,
            {
                "type": "message",
                "room": "lobby",
                "id": "k-1",
                "user": "ben",
                "text": "hi",
                "data": {"x": {}},
            },
        )
        await publish(node, "lobby", "none")
        self.assertNotIn(b'"data"', await reader.message())

    async def test_who_publishes_receives_its_own(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann", "lobby")
        ann.send({"type": "message", "room": "lobby", "text": "mine"})
        self.assertEqual([m["text"] for m in await read(SocketReader(ann), 1)], ["mine"])


class KeptOneOrderTests(Kept, OneOrderTests):
    """On connections that are kept: polls go past twisted.web."""


class EachTests(ServingTests):
    """What every way to read keeps, one after the other."""

    async def test_every_message_once_to_each_reader(self) -> None:
        node = await self.serve()
        for kind in READERS:
            one, two = [await kind.open(node, "lobby", user) for user in ("ann", "cid")]
            await publish(node, "lobby", "a", "b", "c")
            for reader in (one, two):
                self.assertEqual([m["text"] for m in await read(reader, 3)], ["a", "b", "c"])

    async def test_resume_on_every_other_transport(self) -> None:
        """A cursor got on one transport works on every other: nothing missing, nothing twice."""
        node = await self.serve("--rate=1000/s")
        for before in READERS:
            for after in READERS:
                first = await before.open(node, "lobby", "ann")
                await publish(node, "lobby", "1", "2")
                [_, last] = await read(first, 2)
                await publish(node, "lobby", "3", "4")
                second = await after.open(node, "lobby", "ann", after=last["cursor"])
                await publish(node, "lobby", "5")
                seen = [m["text"] for m in await read(second, 3)]
                self.assertEqual(seen, ["3", "4", "5"], f"{before.__name__} {after.__name__}")

    async def test_who_reads_the_past_waits_among_those_of_its_address(self) -> None:
        node = await self.serve()
        start = (await node.get("/rooms/lobby")).json["cursor"]
        await publish(node, "lobby", "1", "2")
        domain = node.service.chat
        room = domain.rooms.get(domain.directory.get("lobby"))
        assert room is not None
        for kind in READERS:
            room.recent.forget()
            room.node.history._blocks._forget(room.stream)
            with patch.object(ReadQueue, "run", autospec=True, side_effect=ReadQueue.run) as run:
                reader = await kind.open(node, "lobby", "ann", after=start)
                await read(reader, 2)
            askers = {call.args[1] for call in run.call_args_list}
            self.assertEqual(askers, {"127.0.0.1"}, kind.__name__)

    async def test_a_repeated_publish_is_seen_once(self) -> None:
        """Whatever way it takes, the same user's same id is stored once."""
        node = await self.serve()
        readers = [await kind.open(node, "lobby", "ann") for kind in READERS]
        socket = await node.chat("ben")
        path = "/rooms/lobby/messages?username=ben"
        self.assertEqual(await socket.say("lobby", "first", id="k"), "k")
        again = await node.post(path, {"text": "second", "id": "k"})
        self.assertEqual((again.status, again.json), (200, {"id": "k"}))
        again = await node.post(path, "third", content_type="text/plain", idempotency_key="k")
        self.assertEqual((again.status, again.json), (200, {"id": "k"}))
        self.assertEqual(await socket.say("lobby", "fourth", id="k"), "k")
        other = await node.post("/rooms/lobby/messages?username=cid", {"text": "cid's", "id": "k"})
        self.assertEqual(other.status, 201)
        for reader in readers:
            self.assertEqual([m["text"] for m in await read(reader, 2)], ["first", "cid's"])

    async def test_names_are_compared_after_nfc(self) -> None:
        node = await self.serve("--room", "café")
        readers = [
            await kind.open(node, unicodedata.normalize(form, "café"), "ann")
            for kind in READERS
            for form in ("NFC", "NFD")
        ]
        await publish(node, unicodedata.normalize("NFD", "café"), "x", user=quote("José"))
        for reader in readers:
            [message] = await read(reader, 1)
            self.assertEqual((message["room"], message["user"]), ("café", "José"))

    async def test_the_backlog_meets_what_is_live(self) -> None:
        """Readers that come while much is said miss nothing and see nothing twice."""
        node = await self.serve("--rate=100000/s")
        start = (await node.get("/rooms/lobby/messages")).json["cursor"]
        writer = await node.chat("ben")
        opened: list[Reader] = []

        async def write() -> None:
            for n in range(300):
                await writer.say("lobby", str(n))

        async def come() -> None:
            for kind in READERS * 3:
                opened.append(await kind.open(node, "lobby", "ann", after=start))

        await together(write(), come())
        for reader in opened:
            self.assertEqual([int(m["text"]) for m in await read(reader, 300)], list(range(300)))


class KeptEachTests(Kept, EachTests):
    """On connections that are kept: polls go past twisted.web."""


class OnSQLite(ServingTests):
    """The same on the broker that is the default."""

    async def serve(self, *options: str) -> Node:
        return await super().serve("--broker", f"sqlite:{self.mktemp()}", *options)


class OneOrderOnSQLiteTests(OnSQLite, OneOrderTests):
    """All transports at once, on SQLite."""


class EachOnSQLiteTests(OnSQLite, EachTests):
    """One after the other, on SQLite."""
