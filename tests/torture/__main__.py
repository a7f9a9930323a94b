"""Run it: processes, clients, faults, and the verdict of the checker."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.torture.checker import check
from tests.torture.faults import Schedule
from tests.torture.history import Recorder
from tests.torture.readers import Reader
from tests.torture.site import ChatNode, Site
from tests.torture.writers import RequestWriter, SocketWriter, Writer

#: Seconds within which readers come to the end, and nodes agree on who is there, after all faults.
LEVEL = 100.0


class Run:
    """One run against a site: its clients, and what they saw."""

    def __init__(
        self, site: Site, recorder: Recorder, seed: int, rooms: list[str], only: str
    ) -> None:
        self.site = site
        self.recorder = recorder
        self.rooms = rooms
        self.writers: list[Writer] = []
        self.readers: list[Reader] = []
        for room in self.rooms:
            for n, kind in enumerate((SocketWriter, SocketWriter, RequestWriter)):
                name = f"{room}-writer{n}"
                self.writers.append(kind(name, room, site.nodes, recorder, seed))
            for n in range(3):
                name = f"{room}-reader{n}"
                self.readers.append(Reader(name, room, site.nodes, recorder, seed))
        self.schedule = Schedule(site, self.rooms, recorder, seed, only)

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
            said = sum(writer.acknowledged for writer in self.writers)
            read = sum(reader.read for reader in self.readers)
            print(
                f"\r{max(0, until - time.monotonic()):5.0f} s left: {self.schedule.broken} faults,"
                f" {said} acknowledged, {read} read ",
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


def main() -> int:
    """Read the command line, torture, and say what the checker found."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--broker", choices=("sqlite", "rabbitmq", "cluster"), default="sqlite")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--nodes", type=int, default=2, help="chatd processes on RabbitMQ")
    parser.add_argument("--rooms", type=int, default=3)
    parser.add_argument("--only", default="", help="only faults whose name holds this")
    parser.add_argument("--history", type=Path, help="write the history to this file")
    given = parser.parse_args()
    file = given.history.open("w", encoding="utf-8") if given.history else None
    print(f"seed {given.seed}", file=sys.stderr)
    recorder = Recorder(file)
    rooms = [f"room{n}" for n in range(given.rooms)]
    site = Site.make(given.broker, given.nodes, rooms)
    try:
        run = Run(site, recorder, given.seed, rooms, given.only)
        asyncio.run(run.torture(given.seconds))
        faults = check(recorder.events)
        print(f"\n{given.broker}, seed {given.seed}: {summary(run, recorder.events)}")
        for fault in faults[:20]:
            print(f"WRONG  {fault}")
        print(f"{len(faults)} wrong" if faults else "all right")
        if faults:
            keep_logs(site.nodes)
    finally:
        site.close()
        if file is not None:
            file.close()
    return 1 if faults else 0


def keep_logs(nodes: list[ChatNode]) -> None:
    """Write the nodes' logs where they can be read afterwards."""
    for node in nodes:
        path = Path(f"torture-{node.name}.log")
        path.write_text(node.daemon.log())
        print(f"log of {node.name}: {path}")


if __name__ == "__main__":
    sys.exit(main())
