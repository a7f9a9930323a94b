"""A writer that does not wait for one answer before it sends the next message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from tests.torture.clients import ANSWER, Node
from tests.torture.history import outcome
from tests.torture.writers import Send, SocketWriter


class BurstWriter(SocketWriter):
    """Publishes several messages at once over WebSocket. Those that are not acknowledged are sent
    again with the next ones, before them."""

    together = 8

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        #: When each message was first sent that is not acknowledged, and the cursor up to which its
        #: sender had read then.
        self.unsaid: dict[str, tuple[float, str]] = {}

    async def publish(
        self,
        node: Node,
        connection: str,
        send: Send,
        frames: AsyncIterator[dict[str, Any]],
        read: str,
    ) -> str:
        again = set(self.unsaid)
        while len(self.unsaid) < self.together:
            self.unsaid[f"{self.name}-{self.number}"] = time.monotonic(), read
            self.number += 1
        waiting: set[str] = set()
        try:
            for id, (_, after) in list(self.unsaid.items()):
                request = {"id": id, "text": f"text of {id}"}
                if id in again:
                    request["after"] = after
                waiting.add(id)
                self.note("publish", **self._of(id, node), connection=connection)
                await send({"type": "message", "room": self.room, **request})
            async with asyncio.timeout(ANSWER):
                while waiting:
                    frame = await anext(frames)
                    if frame["type"] == "message":
                        read = frame["cursor"]
                    elif frame.get("id") in waiting and frame["type"] in ("ack", "error"):
                        waiting.discard(frame["id"])
                        self._answered(node, frame)
        except StopAsyncIteration:
            raise ConnectionError("closed") from None
        finally:
            for id in waiting:
                self.note("answer", **self._of(id, node), result="unknown")
        return read

    def _answered(self, node: Node, frame: dict[str, Any]) -> None:
        result = "stored" if frame["type"] == "ack" else outcome(frame)
        self.note("answer", **self._of(frame["id"], node), result=result)
        if result == "stored":
            began, _ = self.unsaid.pop(frame["id"])
            self.acknowledged += 1
            self.longest = max(self.longest, time.monotonic() - began)

    def _of(self, id: str, node: Node) -> dict[str, Any]:
        return {"room": self.room, "user": self.name, "id": id, "node": node.name}
