"""How many connections there may be, in all and from one address."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache

from attrs import define, field

from chatd.protocol.errors import ChatError, Code

#: ``Retry-After`` for a connection too many, in seconds.
CONNECTIONS_RETRY = 5
#: Addresses whose network is remembered: it is asked for several times in each request.
ADDRESSES = 1024


@lru_cache(maxsize=ADDRESSES)
def network_of(address: str) -> str:
    """The address that limits count by: an IPv4 address, or the /64 network of an IPv6 address,
    which is what one site gets (RFC 6177). Anything else, such as ``unix``, is returned as it is.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip) >> 64 << 64, 64)))


def too_many(text: str) -> ChatError:
    """The error for one connection too many, for the reason ``text``."""
    return ChatError(Code.UNAVAILABLE, text, retry=CONNECTIONS_RETRY)


@define(eq=False)
class Connections:
    """Counts what there may be so many of at a time, in all and by address: WebSockets, event
    streams, waiting polls and Socket.IO sessions together; and each for itself bare sockets,
    requests in hand, set-up connections, and pollers who are present."""

    limit: int
    per_address: int
    total: int = field(default=0, init=False)
    _by_address: defaultdict[str, int] = field(factory=lambda: defaultdict(int), init=False)

    def admit(self, address: str | None) -> Callable[[], None]:
        """Count one more from ``address``; ``None`` counts in all only. Returns a function to call
        when it ends; calling that twice does no harm.

        Raises `ChatError` unavailable, with ``retry``, if there are too many.
        """
        network = network_of(address) if address is not None else None
        if self.total >= self.limit:
            raise too_many("The server has all the connections it may have; try again.")
        if network is not None and self._by_address.get(network, 0) >= self.per_address:
            raise too_many("Too many connections from your address; close some, or try again.")
        self.total += 1
        if network is not None:
            self._by_address[network] += 1
        return _Admitted(self, network)

    def release(self, network: str | None) -> None:
        """Count one less from ``network``, for `_Admitted`."""
        self.total -= 1
        if network is None:
            return
        self._by_address[network] -= 1
        if not self._by_address[network]:
            del self._by_address[network]


@define(eq=False)
class _Admitted:
    """One that is counted until this is called. A closure would take four times the memory, and
    each connection has two."""

    _connections: Connections
    _network: str | None
    _counted: bool = field(default=True, init=False)

    def __call__(self) -> None:
        if self._counted:
            self._counted = False
            self._connections.release(self._network)


def sockets_for(limit: int, per_address: int) -> Connections:
    """Limits for bare TCP connections, given those for what clients hold open: somewhat higher, so
    that there is room for requests that are answered at once."""
    return Connections(limit + limit // 5 + 100, 2 * per_address + 20)
