"""One run: clients, faults, and what they saw."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import quote

from tests.torture.bursts import BurstWriter
from tests.torture.clients import Client
from tests.torture.history import Recorder
from tests.torture.neighbours import AMQPNeighbour, LegacyClient
from tests.torture.readers import Reader
from tests.torture.schedule import Schedule
from tests.torture.scripted import ScriptClient
from tests.torture.site import Site
from tests.torture.writers import RequestWriter, SessionWriter, SocketWriter, Writer

#: Of each room.
WRITERS = SocketWriter, BurstWriter, SessionWriter, RequestWriter

#: Seconds within which readers come to the end, and nodes agree on who is there, after all faults.
LEVEL = 100.0
#: Seconds within which all nodes show what one of them acknowledged, if nothing is broken.
ELSEWHERE = 2.0
#: A private room, which a stranger tries to read.
PRIVATE = "vault"


class Run:
    """One run against a site: its clients, and what they saw. With ``neighbours`` there are clients
    of all kinds, and a private room."""

    def __init__(
        self,
        site: Site,
        recorder: Recorder,
        seed: int,
        rooms: Sequence[str],
        only: str = "",
        keep: Collection[int] | None = None,
        neighbours: bool = False,
    ) -> None:
        self.site = site
        self.recorder = recorder
        self.rooms = [*rooms, PRIVATE] if neighbours else list(rooms)
        self._seed = seed
        self.writers: list[Writer] = []
        self.readers: list[Reader] = []
        self.others: list[ScriptClient | LegacyClient | AMQPNeighbour] = []
        self.strangers: list[Reader] = []
        for room in self.rooms:
            for number, kind in enumerate(WRITERS):
                self.writers.append(self._client(kind, f"{room}-writer{number}", room))
            for number in range(3):
                self.readers.append(self._client(Reader, f"{room}-reader{number}", room))
        if neighbours:
            self._add_others(rooms)
        self.schedule = Schedule(site, self.rooms, recorder, seed, only, keep)

    def _client(self, kind: type[Any], name: str, room: str) -> Any:
        return kind(name, room, self.site.nodes, self.recorder, self._seed)

    def _add_others(self, rooms: Sequence[str]) -> None:
        for room in rooms:
            self.others.append(self._client(LegacyClient, f"{room}-legacy", room))
            if self.site.rabbits:
                neighbour = self._client(AMQPNeighbour, f"{room}-neighbour", room)
                neighbour.rabbits = self.site.rabbits
                self.others.append(neighbour)
        if self.site.tokens is None:
            self.others.append(self._client(ScriptClient, f"{rooms[0]}-script", rooms[0]))
        members = [*self.writers, *self.readers]
        self.site.members[PRIVATE] = [one.name for one in members if one.room == PRIVATE]
        self.site.make_room(PRIVATE)
        self.strangers.append(self._client(Reader, "stranger", PRIVATE))
        self.recorder.note("stranger", reader="stranger", room=PRIVATE)

    async def torture(self, seconds: float) -> None:
        """Let all clients loose, break things for ``seconds``, and mend all."""
        if self.site.retain is not None:
            self.recorder.note("retention", age=self.site.retain, size=10**12)
        tasks = {one: asyncio.create_task(one.run()) for one in self._clients()}
        breaking = asyncio.create_task(self.schedule.run())
        telling = asyncio.create_task(self._tell(time.monotonic() + seconds))
        everything = [breaking, telling, *tasks.values()]
        await asyncio.wait(everything, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        self.schedule.stopping = True
        await breaking
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await asyncio.to_thread(self.site.heal)
        await self._finish(tasks)

    def _clients(self) -> list[Client]:
        return [*self.writers, *self.readers, *self.others, *self.strangers]

    async def _tell(self, until: float) -> None:
        while True:
            await asyncio.sleep(2)
            said = sum(writer.acknowledged for writer in self.writers)
            read = sum(reader.read for reader in [*self.readers, *self.others])
            sessions = sum(client.sessions for client in self._clients())
            print(
                f"\r{max(0, until - time.monotonic()):5.0f} s left: {self.schedule.broken} faults,"
                f" {said} acknowledged, {read} read, {sessions} connections,"
                f" longest wait {max(writer.longest for writer in self.writers):.1f} s ",
                end="",
                file=sys.stderr,
                flush=True,
            )

    async def _finish(self, tasks: dict[Client, asyncio.Task[None]]) -> None:
        """Wait until every message under way is acknowledged and every reader is at the end."""
        speakers = [*self.writers, *self.others]
        for speaker in speakers:
            speaker.stopping = True
        await self._within(LEVEL, lambda: all(tasks[one].done() for one in speakers))
        if len(self.site.nodes) > 1:
            await asyncio.sleep(ELSEWHERE)
        ends = {room: await asyncio.to_thread(self._fetch_all, room) for room in self.rooms}
        await self._within(LEVEL, lambda: all(r.cursor == ends[r.room] for r in self.readers))
        for reader in self.readers:
            self.recorder.note("reached", reader=reader.name, room=reader.room)
        for client in self._clients():
            client.stopping = True
        for task in tasks.values():
            task.cancel()
        for outcome in await asyncio.gather(*tasks.values(), return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _within(self, seconds: float, done: Callable[[], bool]) -> None:
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
                who = node.who(f"{room}-reader0")
                page = node.ask("GET", f"/rooms/{room}/messages?limit=1000&{who}&{query}")
                if page["gap"]:
                    messages = []  # removed while this was read
                if not page["messages"]:
                    break
                messages += page["messages"]
                query = f"after={quote(page['cursor'], safe='')}"
            about = {"node": node.name, "room": room, "began": began}
            self.recorder.note("fetch", **about, messages=messages, level=True)
            last = messages[-1]["cursor"] if messages else page["cursor"]
        return last


def summary(run: Run, events: Sequence[dict[str, Any]]) -> str:
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
        f" longest wait {longest:.1f} s, {sum(r.read for r in run.readers)} read,"
        f" {sum(one.read for one in run.others)} heard by others"
    )
