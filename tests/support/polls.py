"""Polling a node: what is said, and what a poll brings."""

from __future__ import annotations

from urllib.parse import quote

from tests.support.http_client import HTTP, Answer
from tests.support.serving import Node
from tests.support.waiting import until

MESSAGES = "/rooms/lobby/messages"
FORM = "application/x-www-form-urlencoded"


async def say(node: Node, *texts: str, room: str = "lobby", user: str = "ben") -> None:
    for text in texts:
        answer = await node.post(f"/rooms/{quote(room)}/messages?username={user}", {"text": text})
        assert answer.status == 201, answer


def texts(answer: Answer) -> list[str]:
    return [message["text"] for message in answer.json["messages"]]


async def waiting(node: Node, path: str, *before: HTTP, **headers: str) -> HTTP:
    """A poll that has come as far as to wait."""
    connections = node.service.admission.connections
    there = connections.total
    http = await node.ask("GET", path, None, **headers)
    await until(lambda: connections.total == there + 1)
    return http
