"""Nodes with limits, and what clients beyond them are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.guarded import GuardedTests
from tests.support.raw import Raw
from tests.support.serving import Node
from tests.support.waiting import until

KB = 1024

#: Bytes of answers that one connection may hold for a client that does not read.
UNREAD = 256 * KB
POST = b"POST /rooms/lobby/messages?username=ann HTTP/1.1\r\nHost: localhost\r\n"


class LimitsTests(GuardedTests):
    def refused(self, node: Node, code: str) -> float:
        """How many refusals with ``code`` the metrics count."""
        value = node.service.metrics.registry.get_sample_value
        return value("chatd_errors_total", {"code": code}) or 0.0

    async def said(self, node: Node) -> list[str]:
        """The texts in the lobby."""
        answer = await node.get("/rooms/lobby/messages?last=1000")
        return [m["text"] for m in answer.json["messages"]]

    async def spent(self, node: Node, ask: Callable[[int], Any], burst: int, rate: float) -> None:
        """``ask`` passes ``burst`` times, and then not more often than ``rate`` a second."""
        began = node.clock.seconds()
        statuses = [(await ask(n)).status for n in range(burst + 30)]
        took = node.clock.seconds() - began
        self.assertNotIn(429, statuses[:burst])
        passed = len(statuses) - statuses.count(429)
        self.assertLessEqual(passed, burst + rate * took + 1)

    async def lost(self, raw: Raw) -> None:
        await until(lambda: raw.lost)
