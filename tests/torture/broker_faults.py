"""Faults of RabbitMQ: its processes, its alarms, and what its operators delete."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random
from typing import ClassVar

from tests.support.rabbit import Node as RabbitNode
from tests.torture.faults import Fault, for_a_while
from tests.torture.site import Site

#: The exchange of the rooms, in Erlang.
EXCHANGE = 'X = rabbit_misc:r(<<"/">>, exchange, <<"chatd">>)'
OPERATOR = '<<"torture">>'


async def leading(site: Site, chance: Random, room: str) -> RabbitNode:
    """The broker that leads the room's stream, or any if that cannot be told."""
    return await asyncio.to_thread(site.leader, room) or chance.choice(site.rabbits)


def start(rabbit: RabbitNode) -> None:
    """Start it, and return when it serves."""
    rabbit.start(wait=False)
    rabbit.wait()


class BrokerIsKilled(Fault):
    name = "a broker is killed"
    brokers = 1

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        rabbit = await leading(site, chance, room)
        await asyncio.to_thread(rabbit.kill)
        await for_a_while(chance, 6, lambda: start(rabbit), 0)
        return f"{rabbit.name}, the leader of {room}"


class LeaderIsKilled(BrokerIsKilled):
    name = "a leader is killed"
    brokers, weight = 3, 2


class BrokerIsStopped(Fault):
    name = "a broker is stopped in order"
    brokers = 1

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        rabbit = chance.choice(site.rabbits)
        await asyncio.to_thread(rabbit.stop)
        await for_a_while(chance, 4, lambda: start(rabbit), 0)
        return rabbit.name


class BrokerIsFrozen(Fault):
    name = "a broker is frozen"
    brokers = 1

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        rabbit = await leading(site, chance, room)
        rabbit.freeze()
        await for_a_while(chance, 12, rabbit.thaw)
        return rabbit.name


class BrokersAreTornApart(Fault):
    """One is cut off from the others; with the network whole again it is restarted, for RabbitMQ
    does not bring both sides together by itself."""

    name = "brokers are torn apart"
    brokers = 3

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        lonely = chance.choice(site.rabbits)
        others = [one for one in site.rabbits if one is not lonely]

        def mend() -> None:
            lonely.kill()
            for other in others:
                with suppress(RuntimeError):  # it is down itself, and forgets
                    other.meet(lonely)
            start(lonely)

        for other in others:
            await asyncio.to_thread(other.shun, lonely)
            await asyncio.to_thread(lonely.shun, other)
        await for_a_while(chance, 20, mend)
        return lonely.name


class MemoryAlarm(Fault):
    name = "a memory alarm"
    brokers = 1

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        rabbit = chance.choice(site.rabbits)
        await asyncio.to_thread(rabbit.alarm, True)
        await for_a_while(chance, 6, lambda: rabbit.alarm(False))
        return rabbit.name


class DiskAlarm(Fault):
    name = "a disk alarm"
    brokers = 1

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        rabbit = chance.choice(site.rabbits)
        limit = "{resource_limit, disk, node()}"
        await asyncio.to_thread(rabbit.eval, f"rabbit_alarm:set_alarm({{{limit}, []}})")
        await for_a_while(chance, 6, lambda: rabbit.eval(f"rabbit_alarm:clear_alarm({limit})"))
        return rabbit.name


class _Command(Fault):
    """An operator has Erlang evaluated."""

    brokers = 1
    erlang: ClassVar[str]

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        rabbit = chance.choice(site.rabbits)
        await asyncio.to_thread(rabbit.eval, self.erlang.replace("ROOM", room))
        return rabbit.name


class ConnectionsAreClosed(_Command):
    name = "connections are closed"
    erlang = (
        f"[rabbit_networking:close_connection(P, {OPERATOR})"
        " || P <- rabbit_networking:connections()]"
    )


class BindingsAreRemoved(_Command):
    name = "bindings are removed"
    erlang = (
        f"{EXCHANGE}, [rabbit_binding:remove(B, {OPERATOR})"
        " || B <- rabbit_binding:list_for_source(X)]"
    )


class ExchangeIsDeleted(_Command):
    name = "the exchange is deleted"
    erlang = f"{EXCHANGE}, rabbit_exchange:delete(X, false, {OPERATOR})"


class StreamIsDeleted(_Command):
    name = "a stream is deleted"
    deletes = True
    erlang = (
        f"[rabbit_amqqueue:delete(Q, false, false, {OPERATOR}) || Q <- rabbit_amqqueue:list(),"
        " {resource, _, queue, N} <- [amqqueue:get_name(Q)],"
        ' binary:match(N, <<"chatd.room.ROOM.">>) =/= nomatch]'
    )


class QueuesAreDeleted(_Command):
    """The queues by which nodes hear of presence."""

    name = "queues of presence are deleted"
    erlang = (
        'F = rabbit_misc:r(<<"/">>, exchange, <<"chatd.presence">>),'
        "[begin {ok, Q} = rabbit_amqqueue:lookup(element(4, B)),"
        f" rabbit_amqqueue:delete(Q, false, false, {OPERATOR}) end"
        " || B <- rabbit_binding:list_for_source(F)]"
    )
