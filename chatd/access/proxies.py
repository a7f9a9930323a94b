"""Where a request comes from: the peer's address, or what a trusted proxy says of its client."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from attrs import frozen

from chatd.access.limits import ADDRESSES

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# A request's header by its lower-case name; several of one name joined by a comma and a space.
Headers = Callable[[str], str | None]

#: The address of a caller on a Unix socket.
UNIX = "unix"
#: The schemes that X-Forwarded-Proto may name, and those of HTTP that they mean.
_SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
#: How many entries of X-Forwarded-For are looked at, from the right.
HOPS = 20
#: Characters of an entry with an address; IPv6 in brackets with zone and port has fewer.
ENTRY = 128


def is_address(host: str) -> bool:
    """Whether ``host`` is an IP address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@frozen
class Caller:
    """Where a request came from, as far as trusted proxies tell.

    ``address`` is an IP address or ``unix``. ``scheme`` is ``http`` or ``https``, or ``None`` if it
    cannot be known: on plain TCP a proxy that is not trusted may have ended TLS. ``host`` is the
    Host header that the browser sent, ``None`` if there was none.
    """

    address: str
    scheme: str | None
    host: str | None


#: How the headers that proxies add begin, in lower case: there are too many of them for a list.
_FORWARDED = "x-forwarded"
#: Others that proxies add.
_ADDED = frozenset({"forwarded", "via", "x-real-ip"})


def is_direct(peer: str | None, headers: Iterable[str]) -> bool:
    """Whether the caller is a program of this machine that forwards for nobody. ``peer`` is as in
    `Proxies.caller`, ``headers`` are the names of the request's headers."""
    if peer is not None and not _is_loopback(_address(peer) or peer):
        return False
    names = map(str.lower, headers)
    return not any(name in _ADDED or name.startswith(_FORWARDED) for name in names)


@lru_cache(maxsize=ADDRESSES)
def _is_loopback(address: str) -> bool:
    return is_address(address) and ipaddress.ip_address(address).is_loopback


@frozen
class Proxies:
    """The proxies whose forwarding headers are believed: those in the networks ``trusted`` and,
    with ``unix``, whoever connects over a Unix socket."""

    trusted: Sequence[Network] = ()
    unix: bool = False

    def trusts(self, address: str) -> bool:
        """Whether ``address`` is a trusted proxy's."""
        if address == UNIX:
            return self.unix
        if not self.trusted or not is_address(address):
            return False
        ip = ipaddress.ip_address(address)
        return any(ip in network for network in self.trusted)

    def caller(self, peer: str | None, secure: bool, headers: Headers) -> Caller:
        """Where a request came from; X-Forwarded-* counts only from a trusted proxy.

        ``peer`` is the transport's address (``None`` for a Unix socket), ``secure`` whether this
        port itself speaks TLS.
        """
        scheme = "https" if secure else None
        address = UNIX if peer is None else _address(peer) or peer
        if not self.trusts(address):
            return Caller(address, scheme, headers("host"))
        claimed = _last(headers("x-forwarded-proto"))
        if claimed in _SCHEMES:
            scheme = _SCHEMES[claimed]
        host = _last(headers("x-forwarded-host")) or headers("host")
        client = self._forwarded_for(address, headers("x-forwarded-for"))
        return Caller(client, scheme, host)

    def source(self, peer: str | None) -> str | None:
        """The address that a bare connection counts for; ``None`` for a trusted proxy, which stands
        for many clients."""
        address = UNIX if peer is None else _address(peer) or peer
        return None if self.trusts(address) else address

    def _forwarded_for(self, peer: str, value: str | None) -> str:
        """The right-most address that is not a trusted proxy's. Whatever stands left of it is only
        claimed by the client."""
        address = peer
        for entry in reversed((value or "").split(",")[-HOPS:]):
            found = _address(entry)
            if found is None:
                break
            address = found
            if not self.trusts(found):
                break
        return address


def _address(value: str) -> str | None:
    """The IP address in an entry of X-Forwarded-For, which may carry a port."""
    return _read_address(value) if len(value) <= ENTRY else None


@lru_cache(maxsize=ADDRESSES)
def _read_address(value: str) -> str | None:
    value = value.strip()
    if value.startswith("["):
        value = value[1:].partition("]")[0]
    elif value.count(":") == 1:
        value = value.partition(":")[0]
    try:
        ip = ipaddress.ip_address(value.partition("%")[0])
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def _last(value: str | None) -> str | None:
    # A proxy that appends leaves what the client claimed on the left.
    return value.rpartition(",")[2].strip().lower() or None if value else None
