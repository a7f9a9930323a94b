"""What other AMQP programs can do to one room, and must not do to the others: pika as the stranger,
a running node in between."""

from __future__ import annotations

import json
import struct
import time
from typing import Any

import pytest

from chatd.protocol.timestamps import format_time
from tests.support.amqp_strangers import Strangers
from tests.support.waiting import until

pytestmark = pytest.mark.rabbitmq

#: RabbitMQ's own default of ``frame_max``.
FRAME_MAX = 131_072


class StrangerTests(Strangers):
    # -- records -----------------------------------------------------------------------------------

    async def check_skipped(self, number: int) -> None:
        """``number`` records to ``hp`` were skipped and harmed nobody, on a node that was there and
        on one that comes later."""
        self.publish("hp", b"good")
        for node in (self.node, await self.start()):
            while (await self.texts("hp", node))[-1:] != ["good"]:
                pass
            self.assertEqual(self.count("bad_records", node), number, await self.texts("hp", node))
            said = await node.post("/rooms/lobby/messages?username=ann", {"text": "and here"})
            self.assertEqual(said.status, 201)
        self.assertEqual(self.lines("onnection to the broker lost"), [])
        self.assertFalse([e for e in self.said if "log_failure" in e])

    def header_of(self, size: int) -> dict[str, Any]:
        """Headers with which the header frame has ``size`` bytes: frame, class, weight, size of the
        body, flags, the table's length, one long string's name, type and length."""
        return {"big": "x" * (size - 8 - 12 - 2 - 4 - 4 - 1 - 4)}

    async def test_headers_as_large_as_a_frame(self) -> None:
        await self.node.chat("bob", "hp")
        for less in (0, 1, 12, 24, 25, 26, 30, 60):
            self.publish("hp", b"big", headers=self.header_of(FRAME_MAX - less))
        await self.check_skipped(8)
        self.assertEqual(len(self.lines("skipped a record")), 2, "once on each node")

    async def test_headers_that_chatd_cannot_read(self) -> None:
        await self.node.chat("bob", "hp")
        deep: dict[str, Any] = {}
        for _ in range(100):
            deep = {"k": deep}
        self.publish("hp", b"\xff", headers=deep)  # some brokers leave such headers out
        self.publish("hp", b"many", headers={f"k{n}": None for n in range(15_000)})
        self.publish("hp", b"long", headers={"a": "x" * 20_000})
        self.publish("hp", b"readable", headers={"x-stream-offset": 7, "a": [[[[1]]]]})
        await self.check_skipped(3)
        self.assertEqual(await self.texts("hp"), ["readable", "good"])

    async def test_cc_and_bcc(self) -> None:
        """A publisher that may write to one room only has these to write to another."""
        ann = await self.node.chat("ann", "hp")
        for name in ("CC", "BCC"):
            self.publish("lobby", name.encode(), headers={name: ["hp"]})
        self.publish("hp", b"straight")
        self.assertEqual((await ann.find("message"))["text"], "straight")
        self.assertEqual(await self.texts("lobby"), ["CC", "BCC"])
        self.assertEqual(await self.texts("hp"), ["straight"])
        self.assertEqual(self.count("bad_records"), 2)
        self.assertEqual(len(self.lines("hp at ")), 1, "once")
        later = await self.start()
        self.assertEqual(await self.texts("hp", later), ["straight"])

    async def test_cc_to_the_directory(self) -> None:
        forged = json.dumps({"op": "create", "room": "forged", "epoch": "e1"}).encode()
        self.publish("lobby", forged, headers={"CC": ["chatd.directory"]})
        self.other.queue_bind("chatd.directory", "chatd", "lobby")
        self.publish("lobby", forged)
        await until(lambda: self.count("bad_events"))
        self.assertIsNone(self.node.service.chat.directory.find("forged"))

    # -- times -------------------------------------------------------------------------------------

    async def test_times_are_the_same_on_all_nodes_for_good(self) -> None:
        """No timestamp, which is the default of most libraries; and clocks that are wrong."""
        ann = await self.node.chat("ann", "hp")
        self.publish("hp", b"first")
        live = [await ann.find("message")]  # what another connection sends may pass it
        await self.say("hp", "dated")
        now = int(time.time())
        for text, timestamp in (("none", None), ("1970", 1000), ("ahead", now + 7200), ("zero", 0)):
            self.publish("hp", text.encode(), timestamp=timestamp)
        self.publish("hp", b"honest", timestamp=now)
        live += [await ann.find("message") for _ in range(6)]
        times = {message["text"]: message["time"] for message in live}
        created = self.node.service.chat.directory.get("hp").stream.created
        self.assertEqual(times["first"], format_time(created))
        for text in ("none", "1970", "ahead", "zero"):
            self.assertEqual(times[text], times["dated"], text)
        self.assertEqual(times["honest"], format_time(now * 1000))
        for _ in range(2):
            later = await self.start()
            answer = await later.get("/rooms/hp/messages?last=100")
            self.assertEqual({m["text"]: m["time"] for m in answer.json["messages"]}, times)

    # -- presence and the directory ----------------------------------------------------------------

    async def test_payloads_of_no_node(self) -> None:
        for payload in (
            b'{"node":"x","n":1e999,"kind":"beat"}',
            b'{"node":"x","n":1,"kind":"snapshot","part":1e999,"of":1,"rooms":{}}',
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"node":"\\u001b[2J","n":"\\n","kind":7}',
            struct.pack("!Q", 7),
        ):
            count = self.count("bad_events")
            self.other.basic_publish("chatd.presence", "", payload)
            await until(lambda: self.count("bad_events") == count + 1)
        self.check_log()

    async def test_events_of_no_node(self) -> None:
        epochs = ["e" * 300, 1e999, "a:b", "", None, "\0", "é", {"x": 1}, ["y"], True]
        for n, epoch in enumerate(epochs):
            count = self.count("bad_events")
            event = {"op": "create", "room": f"r{n}", "epoch": epoch}
            body = json.dumps(event).replace("Infinity", "1e999").encode()
            self.other.basic_publish("", "chatd.directory", body)
            await until(lambda: self.count("bad_events") == count + 1)
            self.assertEqual((await self.node.get(f"/rooms/r{n}/messages")).status, 404)
        self.check_log()
        later = await self.start()
        self.assertEqual((await later.get("/rooms/lobby/messages")).status, 200)
