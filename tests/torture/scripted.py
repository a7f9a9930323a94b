"""chatd.js in Node, as a client: see ``chat.mjs``."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

from tests.support.daemon import ROOT
from tests.torture.clients import ANSWER, Client, Node

SCRIPT = Path(__file__).with_name("chat.mjs")
MODULE = (ROOT / "chatd" / "web" / "chatd.js").as_uri()


class ScriptClient(Client):
    """Says one thing after the other and reads, at one node, whatever becomes of that. Each time
    that it must join again it is another reader."""

    read = 0
    acknowledged = 0

    async def once(self, node: Node) -> None:
        command = ("node", str(SCRIPT), MODULE, node.url(), self.name, self.room)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=1 << 20
        )
        assert process.stdin is not None
        assert process.stdout is not None
        ending = asyncio.create_task(self._end(process.stdin))
        try:
            async for line in process.stdout:
                self._told(node, json.loads(line))
        finally:
            ending.cancel()
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), ANSWER)
            except TimeoutError:
                process.kill()

    async def _end(self, stdin: asyncio.StreamWriter) -> None:
        while not self.stopping:
            await asyncio.sleep(0.2)
        stdin.close()

    def _told(self, node: Node, event: dict[str, Any]) -> None:
        life, about = event.pop("life"), {"room": self.room, "node": node.name}
        if event["e"] in ("publish", "answer"):
            about |= {"user": self.name, "connection": f"{self.name}/{event['id']}"}
            self.acknowledged += event.get("result") == "stored"
        else:
            about["reader"] = f"{self.name}/{life}"
            self.read += event["e"] == "message"
        self.note(**event, **about)
