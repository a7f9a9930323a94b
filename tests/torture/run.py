"""One run: clients, faults, and what they saw."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Collection
from typing import Any
from urllib.parse import quote

from tests.torture.faults import Schedule
from tests.torture.history import Recorder
from tests.torture.readers import Reader
from tests.torture.site import Site
from tests.torture.writers import RequestWriter, SessionWriter, SocketWriter, Writer

#: Seconds within which readers come to the end, and nodes agree on who is there, after all faults.
LEVEL = 100.0


class Run:
    """One run against a site: its clients, and what they saw."""

    def __init__(
        self,
        site: Site,
        recorder: Recorder,
        seed: int,
        rooms: list[str],
        only: str = "",
        keep: Collection[int] | None = None,
    ) -> None:
        self.site = site
        self.recorder = recorder
        self.rooms = rooms
        self.writers: list[Writer] = []
        self.readers: list[Reader] = []
        for room in self.rooms:
            for n, kind in enumerate((SocketWriter, SessionWriter, RequestWriter)):
                name = f"{room}-writer{n}"
                self.writers.append(kind(name, room, site.nodes, recorder, seed))
            for n in range(3):
                name = f"{room}-reader{n}"
                self.readers.append(Reader(name, room, site.nodes, recorder, seed))
        self.schedule = Schedule(site, self.rooms, recorder, seed, only, keep)

    async def torture(self, seconds: float) -> None:
        """Let all clients loose, break things for ``seconds``, and mend all."""
        clients = [*self.writers, *self.readers]
        tasks = [asyncio.create_task(client.run()) for client in clients]
        breaking = asyncio.create_task(self.schedule.run())
        telling = asyncio.create_task(self._tell(time.monotonic() + seconds))
        everything = [breaking, telling, *tasks]
        await asyncio.wait(everything, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        self.schedule.stopping = True
        await breaking
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await asyncio.to_thread(self.site.heal)
        await self._finish(tasks)

    async def _tell(self, until: float) -> None:
        while True:
            await asyncio.sleep(2)
            clients = [*self.writers, *self.readers]
            said = sum(writer.acknowledged for writer in self.writers)
            read = sum(reader.read for reader in self.readers)
            sessions = sum(client.sessions for client in clients)
            print(
                f"\r{max(0, until - time.monotonic()):5.0f} s left: {self.schedule.broken} faults,"
                f" {said} acknowledged, {read} read, {sessions} connections,"
                f" longest wait {max(writer.longest for writer in self.writers):.1f} s ",
                end="",
                file=sys.stderr,
                flush=True,
            )

    async def _finish(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait until every message under way is acknowledged and every reader is at the end."""
        for writer in self.writers:
            writer.stopping = True
        await self._within(LEVEL, lambda: all(t.done() for t in tasks[: len(self.writers)]))
        ends = {room: await asyncio.to_thread(self._fetch_all, room) for room in self.rooms}
        await self._within(LEVEL, lambda: all(r.cursor == ends[r.room] for r in self.readers))
        for reader in self.readers:
            self.recorder.note("reached", reader=reader.name, room=reader.room)
            reader.stopping = True
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _within(self, seconds: float, done: Any) -> None:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            await asyncio.sleep(0.1)

    def _fetch_all(self, room: str) -> str:
        """Note all that each node has of a room; the cursor of its last message."""
        last = ""
        for node in self.site.nodes:
            began = time.monotonic()
            messages: list[dict[str, Any]] = []
            query = "since=1970-01-01T00:00:00Z"
            while True:
                page = node.ask("GET", f"/rooms/{room}/messages?limit=1000&{query}")
                if not page["messages"]:
                    break
                messages += page["messages"]
                query = f"after={quote(page['cursor'], safe='')}"
            note = self.recorder.note
            note("fetch", node=node.name, room=room, began=began, messages=messages)
            last = messages[-1]["cursor"] if messages else last
        return last


def summary(run: Run, events: list[dict[str, Any]]) -> str:
    """What was done, in a line."""
    answers = [event["result"] for event in events if event["e"] == "answer"]
    began: dict[str, float] = {}
    longest = 0.0
    for event in events:
        if event["e"] == "publish":
            began.setdefault(event["id"], event["t"])
        elif event["e"] == "answer" and event["result"] == "stored":
            longest = max(longest, event["t"] - began.get(event["id"], event["t"]))
    return (
        f"{run.schedule.broken} faults, {answers.count('stored')} acknowledged,"
        f" {answers.count('unknown')} unknown, {answers.count('refused')} refused,"
        f" longest wait {longest:.1f} s, {sum(r.read for r in run.readers)} read"
    )
