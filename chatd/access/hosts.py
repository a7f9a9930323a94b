"""Hosts and origins as values: read from what clients and operators write, and normalised."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

import idna
from attrs import frozen

#: The port that is meant where a URL of this scheme names none.
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

#: Hosts, and origins, that were read last and are kept: the same ones come again and again.
HOSTS = 256

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@\s]+)", re.ASCII)

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]\s/?#@,]+)(?::([0-9]{0,5}))?", re.ASCII)

_NAME = re.compile(r"[a-z0-9_*-]+(\.[a-z0-9_-]+)*\.?", re.ASCII)


@lru_cache(maxsize=HOSTS)
def split_host(value: str) -> tuple[str, int | None]:
    """``name[:port]`` in lower case, where a port of no digits is none (RFC 9110, section 7.2);
    ValueError for anything else."""
    match = _HOST.fullmatch(value.strip().lower()) if len(value) <= 300 else None
    if match is None:
        raise ValueError(f"{value!r} is not a host")
    port = int(match[2]) if match[2] else None
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"{port} is not a port")
    return host_name(match[1]), port


def host_name(value: str) -> str:
    """A host's name or address without port, normalised: lower case, IDNA as browsers have it
    (UTS 46, non-transitional), no final dot, no brackets. ValueError if it is neither."""
    name = value.strip().lower()
    try:
        return str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    if not name.isascii():
        try:
            name = idna.encode(value.strip(), uts46=True).decode("ascii")
        except idna.IDNAError as e:
            raise ValueError(f"{value!r} is not a host name: {e}") from None
    if len(name) > 253 or not _NAME.fullmatch(name) or "*" in name:
        raise ValueError(f"{value!r} is not a host name or address (without scheme and port)")
    return name.removesuffix(".")


@frozen
class Origin:
    """An origin: scheme, host, port (``None`` for a scheme that has none by default)."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    @lru_cache(maxsize=HOSTS)
    def parse(cls, value: str) -> Origin:
        """Read ``scheme://host[:port]``; ValueError for anything else, ``null`` included."""
        match = _ORIGIN.fullmatch(value.strip().lower()) if len(value) <= 300 else None
        if match is None:
            raise ValueError(f"{value!r} is not an origin such as https://chat.example.org")
        host, port = split_host(match[2])
        return cls(match[1], host, port or DEFAULT_PORTS.get(match[1]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port is None or DEFAULT_PORTS.get(self.scheme) == self.port:
            return f"{self.scheme}://{host}"
        return f"{self.scheme}://{host}:{self.port}"


def normalise_origin(value: str) -> str:
    """An origin as browsers write it (lower case, default port dropped), or ``*``."""
    return "*" if value.strip() == "*" else str(Origin.parse(value))
