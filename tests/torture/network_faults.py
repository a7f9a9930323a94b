"""Faults of the network between one node and its brokers: each connection goes through a relay."""

from __future__ import annotations

from random import Random

from tests.support.proxy import Relay
from tests.torture.faults import Fault, for_a_while, some_node
from tests.torture.site import Site


class _Wires(Fault):
    """All relays of one node are spoilt, or one of them."""

    brokers = 1
    longest = 12.0

    @classmethod
    def fits(cls, site: Site) -> bool:
        return super().fits(site) and all(node.relays for node in site.nodes)

    def spoil(self, relay: Relay, chance: Random) -> None:
        """Spoil what passes."""
        raise AssertionError("said by the class of the fault")

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        node = some_node(site, chance)
        relays = node.relays if chance.random() < 0.5 else [chance.choice(node.relays)]
        for relay in relays:
            self.spoil(relay, chance)

        def mend() -> None:
            for relay in relays:
                relay.mend()

        await for_a_while(chance, self.longest, mend)
        return f"{node.name}, {len(relays)} of {len(node.relays)} ways"


class Partition(_Wires):
    name = "a node is cut off"

    def spoil(self, relay: Relay, chance: Random) -> None:
        relay.cut()


class Stall(_Wires):
    """Nothing passes, in one direction or both; nothing is lost."""

    name = "the network stalls"

    def spoil(self, relay: Relay, chance: Random) -> None:
        relay.hold(*chance.choice(((True,), (False,), (True, False))))


class HalfOpen(_Wires):
    """What is connected now is heard of no more; new connections are made."""

    name = "connections are half-open"

    def spoil(self, relay: Relay, chance: Random) -> None:
        relay.abandon()


class Slow(_Wires):
    name = "the network is slow"

    def spoil(self, relay: Relay, chance: Random) -> None:
        relay.delay = chance.uniform(0.05, 0.5)
