"""A running node on RabbitMQ, and another AMQP program beside it: pika."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pika
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.support import rabbit
from tests.support.http_client import Answer
from tests.support.serving import Node, PreparedTests

ADMIN = "Bearer the-admin-key-of-these-tests"


class Strangers(PreparedTests):
    """Helper: a node with the rooms ``lobby`` and ``hp``, and a channel of another program. With
    ``alone`` they are on `rabbit.own_node`."""

    alone = False

    async def prepare(self) -> None:
        self.rabbit = rabbit.own_node() if self.alone else rabbit.shared_node()
        self.vhost = self.rabbit.vhost()
        self.addCleanup(self.rabbit.drop_vhost, self.vhost)
        self.url = self.rabbit.url(self.vhost)
        self.said: list[LogEvent] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.said.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.node = await self.start()
        self.connection = connection = pika.BlockingConnection(pika.URLParameters(self.url))
        self.addCleanup(connection.close)
        self.other = connection.channel()

    async def start(self, url: str = "") -> Node:
        key = Path(self.mktemp())
        key.write_text(ADMIN.removeprefix("Bearer "))
        options = ("--broker", url or self.url, "--rate", "1000/s", "--admin-key", str(key))
        return await self.serve(*options, "--room", "hp", "--room", "lobby")

    def publish(self, room: str, body: bytes, **properties: Any) -> None:
        self.other.basic_publish("chatd", room, body, pika.BasicProperties(**properties))

    async def texts(self, room: str, node: Node | None = None) -> list[str]:
        answer = await (node or self.node).get(f"/rooms/{room}/messages?last=100")
        assert answer.status == 200, answer.json
        return [message["text"] for message in answer.json["messages"]]

    def count(self, name: str, node: Node | None = None) -> float:
        registry = (node or self.node).service.chat.rooms.node.metrics.registry
        counted = [registry.get_sample_value(f"chatd_{name}_total")]
        reasons = ("format", "fault") if name == "bad_records" else ()
        for reason in reasons:
            counted.append(registry.get_sample_value(f"chatd_{name}_total", {"reason": reason}))
        return sum(one or 0 for one in counted)

    def lines(self, part: str) -> list[str]:
        """What was logged that has ``part`` in it."""
        return [line for e in self.said if part in (line := formatEvent(e) or "")]

    async def say(self, room: str, text: str, node: Node | None = None, **more: Any) -> Answer:
        """Publish over HTTP."""
        path = f"/rooms/{room}/messages?username=ann"
        return await (node or self.node).post(path, {"text": text, **more})

    def check_log(self) -> None:
        """No traceback, and nothing that a terminal would obey."""
        self.assertFalse([e for e in self.said if "log_failure" in e])
        for event in self.said:
            line = formatEvent(event) or ""
            self.assertTrue(all(c.isprintable() for c in line), line)

    def user(self, name: str, configure: str) -> str:
        """The broker's address for another user, who may configure only what matches."""
        quoted = json.dumps(configure)
        self.rabbit.eval(
            f'rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"pw">>, <<"test">>),'
            f'rabbit_auth_backend_internal:set_permissions(<<"{name}">>, <<"{self.vhost}">>,'
            f' <<{quoted}>>, <<".*">>, <<".*">>, <<"test">>)'
        )
        delete = f'rabbit_auth_backend_internal:delete_user(<<"{name}">>, <<"test">>)'
        self.addCleanup(self.rabbit.eval, delete)
        return self.url.replace("guest:guest", f"{name}:pw")
