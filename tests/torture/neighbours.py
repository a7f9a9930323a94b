"""Who speaks other protocols: the original's clients, and programs that use RabbitMQ.

None of them is told what was stored. What they hear was said in that room.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import pika
from aiohttp import ClientWebSocketResponse, WSMsgType
from pika.exceptions import AMQPError

from tests.support.rabbit import Node as RabbitNode
from tests.torture.clients import AGAIN, Client, Node

#: Seconds between two things that are said.
PAUSE = 0.2


class _Speaker(Client):
    """Says and hears."""

    number = 0
    read = 0

    def said(self, node: str) -> str:
        """Note something to be said; its id."""
        id = f"{self.name}-{self.number}"
        self.number += 1
        about = {"room": self.room, "user": self.name, "id": id, "node": node}
        self.note("publish", **about, connection=f"{self.name}/{id}")
        return id

    def heard(self, text: str, once: bool = False) -> None:
        """Note something that was heard, at most ``once`` on a connection if all is right."""
        about = {"reader": f"{self.name}/{self.sessions}", "room": self.room}
        self.note("heard", **about, text=text, once=once)
        self.read += 1


class LegacyClient(_Speaker):
    """The original's WebSocket client: live messages only, as bare texts."""

    async def once(self, node: Node) -> None:
        async with self.session() as http:
            url = node.url(f"/ws?roomname={self.room}&{node.who(self.name)}")
            async with http.ws_connect(url) as socket:
                speaking = asyncio.create_task(self._speak(node, socket))
                try:
                    async for frame in socket:
                        if frame.type is WSMsgType.TEXT and frame.data.startswith("text of "):
                            self.heard(frame.data, once=True)
                finally:
                    speaking.cancel()

    async def _speak(self, node: Node, socket: ClientWebSocketResponse) -> None:
        while not self.stopping:
            said = {"message": f"text of {self.said(node.name)}", "roomname": self.room}
            await socket.send_json({"status": "message", "username": self.name, **said})
            await asyncio.sleep(PAUSE)
        await socket.close()


class AMQPNeighbour(_Speaker):
    """Publishes to the exchange, and binds a queue of its own."""

    rabbits: list[RabbitNode]

    async def once(self, node: Node) -> None:
        rabbit = self.random.choice(self.rabbits)
        over = threading.Event()
        try:
            await asyncio.to_thread(self._talk, rabbit, over)
        except AMQPError:
            await asyncio.sleep(AGAIN)
        finally:
            over.set()

    def _talk(self, rabbit: RabbitNode, over: threading.Event) -> None:
        parameters = pika.ConnectionParameters(
            "127.0.0.1", rabbit.port, heartbeat=4, blocked_connection_timeout=5, socket_timeout=5
        )
        with pika.BlockingConnection(parameters) as connection:
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(queue, "chatd", self.room)

            def got(_: Any, __: Any, ___: Any, body: bytes) -> None:
                self.heard(json.loads(body)["text"])

            channel.basic_consume(queue, got, auto_ack=True)
            while not over.is_set() and not self.stopping:
                id = self.said(rabbit.name)
                body = json.dumps({"id": id, "user": self.name, "text": f"text of {id}"}).encode()
                channel.basic_publish("chatd", self.room, body)
                until = time.monotonic() + PAUSE
                while (left := until - time.monotonic()) > 0:
                    connection.process_data_events(left)
