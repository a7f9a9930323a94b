"""What every transport asks before it serves a caller: rights, limits, rates. One object for each
node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from chatd.access.budget import Unfinished, Unread
from chatd.access.fair_queue import FairQueue, allowance
from chatd.access.identity import Identity
from chatd.access.limits import Connections, network_of
from chatd.access.origins import OriginPolicy
from chatd.access.rate_limit import Buckets, Rate
from chatd.access.rights import Rights
from chatd.access.standing import Standing
from chatd.net.tcp import is_proxied
from chatd.telemetry.access_log import AccessLog
from chatd.timing.timer_wheel import TimerWheel

#: How much more than one user all users of one address may publish in open mode, where users cost
#: nothing to invent.
PER_ADDRESS = 2


@define(eq=False)
class Admission:
    """The access rules of one node, as every transport uses them."""

    #: Monotonic, for rates and waits.
    clock: IReactorTime
    origin_policy: OriginPolicy
    rights: Rights
    connections: Connections
    #: All that is open on the HTTP and WebSocket ports, whether it has asked for anything or not.
    sockets: Connections
    #: Requests in hand, each of which may hold an answer that its client does not take.
    requests: Connections
    deadlines: TimerWheel
    turns: FairQueue
    unread: Unread
    #: Publishes of one connection or user, and rooms made from one address.
    rate: Rate
    room_rate: Rate
    #: Where requests are logged, if anywhere.
    access_log: AccessLog | None = None
    #: As much as there may be unread.
    unfinished: Unfinished = field(init=False)
    standing: Standing = field(init=False)
    _publishers: Buckets = field(init=False)
    _addresses: Buckets = field(init=False)
    _makers: Buckets = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.unfinished = Unfinished(self.unread.limit, self.clock)
        self.standing = Standing(self.rights, self.clock, self.deadlines)
        self.set_rates(self.rate, self.room_rate)

    def set_rates(self, rate: Rate, room_rate: Rate) -> None:
        """Use these rates from now on: ``rate`` for each new connection and, over HTTP, for
        everyone; ``room_rate`` for rooms that one address makes."""
        self.rate, self.room_rate = rate, room_rate
        together = Rate(PER_ADDRESS * rate.per_second, PER_ADDRESS * rate.burst)
        self._publishers, self._addresses = Buckets(rate), Buckets(together)
        self._makers = Buckets(room_rate)
        self.turns.set_rate(allowance(rate))

    def open(self, transport: Any) -> Callable[[], None]:
        """Count a connection that has not asked for anything yet. Returns a function to call when
        it ends. Raises `ChatError` unavailable if there are too many connections already, in all or
        from its address."""
        peer = getattr(transport.getPeer(), "host", None)
        # a proxy stands for many clients
        source = None if is_proxied(transport) else self.origin_policy.proxies.source(peer)
        return self.sockets.admit(source)

    def check_rate(self, identity: Identity, address: str) -> None:
        """Count a publish over HTTP: for its user; in open mode for its user and address, and
        against an allowance that all users of the address share, `PER_ADDRESS` times as large.
        Raises `ChatError` rate_limited."""
        now = self.clock.seconds()
        if self.rights.tokens is not None:
            self._publishers.check(identity.user, now)
            return
        network = network_of(address)
        self._publishers.check((identity.user, network), now)
        self._addresses.check(network, now)

    def check_room_rate(self, address: str) -> None:
        """Count a room that is made from ``address``. Raises `ChatError` rate_limited."""
        self._makers.check(network_of(address), self.clock.seconds())
