"""Faults of chatd's own processes, of what they run on, and of how they are configured."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from contextlib import suppress
from random import Random

from tests.torture.faults import Fault, for_a_while, some_node
from tests.torture.site import ChatNode, Site

HOUR = 3600


class _Ended(Fault):
    """A node ends in some way, and is started again."""

    def end(self, node: ChatNode) -> None:
        """End it."""
        raise AssertionError("said by the class of the fault")

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        node = some_node(site, chance)
        node.running = False
        await asyncio.to_thread(self.end, node)
        await for_a_while(chance, 3, node.daemon.start, 0)
        node.running = True
        return node.name


class NodeIsKilled(_Ended):
    name = "a node is killed"

    def end(self, node: ChatNode) -> None:
        node.daemon.kill()


class NodeIsStopped(_Ended):
    name = "a node is stopped in order"

    def end(self, node: ChatNode) -> None:
        node.daemon.stop()


class NodeIsFrozen(Fault):
    name = "a node is frozen"

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        node = some_node(site, chance)
        pid = node.daemon.pid
        os.kill(pid, signal.SIGSTOP)
        await for_a_while(chance, 8, lambda: os.kill(pid, signal.SIGCONT))
        return node.name


class DescriptorsRunOut(Fault):
    """As many files are open as may be."""

    name = "descriptors run out"

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        node = some_node(site, chance)
        pid, files = node.daemon.pid, resource.RLIMIT_NOFILE
        soft, hard = resource.prlimit(pid, files)
        resource.prlimit(pid, files, (len(os.listdir(f"/proc/{pid}/fd")), hard))

        def mend() -> None:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                resource.prlimit(pid, files, (soft, hard))

        await for_a_while(chance, 8, mend)
        return node.name


class ClockIsSet(Fault):
    """By an hour, and back again after a while. Not where so much would end retention."""

    name = "a clock is set by an hour"

    @classmethod
    def fits(cls, site: Site) -> bool:
        return site.retain is None and all(node.time is not None for node in site.nodes)

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        node = some_node(site, chance)
        time, ahead = node.time, chance.choice((-HOUR, HOUR))
        assert time is not None
        time.set(ahead)
        await for_a_while(chance, 10, lambda: time.set(0))
        return f"{node.name}, {ahead:+d} s"


class DiskIsFull(Fault):
    name = "a disk is full"
    fault = "write ENOSPC 1000000"

    @classmethod
    def fits(cls, site: Site) -> bool:
        return all(node.disk is not None for node in site.nodes)

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        node = some_node(site, chance)
        disk = node.disk
        assert disk is not None
        disk.say(self.fault)
        await for_a_while(chance, 6, lambda: disk.say(""))
        return node.name


class DiskFails(DiskIsFull):
    name = "a disk cannot sync"
    fault = "sync EIO 3"


class DiskIsSlow(DiskIsFull):
    name = "a disk is slow"
    fault = "sync slow 300"


class Reload(Fault):
    """The configuration changes, and all nodes are told to read it."""

    name = "configuration is reloaded"

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        rate = chance.choice(("9000/s", "10000/s", "11000/s"))
        site.configure(rate)
        site.hang_up(chance.sample(site.nodes, len(site.nodes)))
        return f"rate {rate}"


class KeysAreChanged(Fault):
    """Tokens of before are good no more."""

    name = "keys are changed"

    @classmethod
    def fits(cls, site: Site) -> bool:
        return site.tokens is not None

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        assert site.tokens is not None
        site.tokens.change(chance)
        await asyncio.sleep(chance.uniform(0, 2))
        site.hang_up(site.nodes)
        return site.tokens.path.name
