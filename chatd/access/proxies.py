"""Who calls: the peer's address, or what a trusted proxy says of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from attrs import frozen

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: A request's header by its lower-case name; several of one name joined by ``, ``.
Headers = Callable[[str], str | None]

#: The address of a caller on a Unix socket.
UNIX = "unix"
#: How many entries of X-Forwarded-For are looked at, from the right.
HOPS = 20


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@frozen
class Caller:
    """Where a request came from, as far as trusted proxies tell.

    ``address`` is an IP address or ``unix``. ``scheme`` is ``http`` or ``https``, ``None`` where it
    cannot be known: on plain TCP, where a proxy that is not trusted may have ended TLS. ``host`` is
    the Host header as the browser sent it, ``None`` if there was none. ``direct`` callers are
    programs of this machine, as far as no header says that they ask for somebody else.
    """

    address: str
    scheme: str | None
    host: str | None
    direct: bool = False


#: The headers by which proxies say that they are some.
_FORWARDING = (
    "forwarded",
    "via",
    "x-real-ip",
    *(
        f"x-forwarded-{what}"
        for what in (
            "for",
            "host",
            "proto",
            "protocol",
            "scheme",
            "ssl",
            "port",
            "server",
            "prefix",
            "by",
            "uri",
            "user",
        )
    ),
)


def is_direct(address: str, headers: Headers) -> bool:
    """Whether the peer at ``address`` is of this machine and speaks for nobody else."""
    if address != UNIX and not (_literal(address) and ipaddress.ip_address(address).is_loopback):
        return False
    return all(headers(name) is None for name in _FORWARDING)


def _address(value: str) -> str | None:
    """The IP address in an entry of X-Forwarded-For, which may carry a port."""
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
