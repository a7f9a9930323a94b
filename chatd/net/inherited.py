"""Listening sockets that a service manager opened and passed on (sd_listen_fds(3)).

Twisted finds them by ``systemd:domain=INET:name=http`` or ``:index=0``, and says little where it
does not. What they are bound to is looked at before they are listened on: Twisted closes them then.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import count

from twisted.internet.endpoints import serverFromString

from chatd.errors import StartError

#: What ``domain=`` may say, and the address family it stands for.
FAMILIES = {"INET": socket.AF_INET, "INET6": socket.AF_INET6, "UNIX": socket.AF_UNIX}


def check(arguments: Mapping[str, str]) -> None:
    """ValueError for what cannot name an inherited socket."""
    if arguments["domain"] not in FAMILIES:
        raise ValueError(f"{arguments['domain']!r} is not a domain (INET, INET6 or UNIX)")
    if ("index" in arguments) == ("name" in arguments):
        raise ValueError("systemd: needs an index= or a name=")
    index = arguments.get("index", "0")
    if not (index.isascii() and index.isdigit()):
        raise ValueError(f"{index!r} is not an index")


def descriptor(text: str) -> int:
    """The file descriptor of the socket that ``text`` names. `StartError` if none was passed on."""
    try:
        # the reactor is of no interest before it is listened on
        return int(getattr(serverFromString(None, text), "fileno", -1))
    except LookupError:
        raise StartError(
            f"{text}: no such socket was passed to this process; it is started by a socket unit,"
            " whose FileDescriptorName= is the name"
        ) from None


def left_over(texts: Iterable[str]) -> Iterator[str]:
    """Each socket that was passed on and that none of ``texts`` names, as an index; who connects to
    it waits for ever."""
    named = {descriptor(text) for text in texts}
    for place in count():
        index = f"index={place}"
        try:
            if descriptor(f"systemd:domain=INET:{index}") not in named:
                yield index
        except StartError:
            return  # there are no more


@cache
def bound_to(text: str) -> tuple[str, str | None]:
    """Of the socket that ``text`` names: its domain, and the address of its interface, None for
    a Unix socket. `StartError` if no such socket was passed on, or not one that listens."""
    try:
        with socket.socket(fileno=os.dup(descriptor(text))) as found:
            listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            family, name = found.family, found.getsockname()
    except OSError as e:
        raise StartError(f"{text}: what was passed is no socket: {e.strerror}") from None
    if not listens:
        raise StartError(f"{text}: what was passed is a connection; set Accept=no in its unit")
    domain = next((word for word, number in FAMILIES.items() if number == family), "")
    return domain, None if family == socket.AF_UNIX else str(name[0])


def check_domain(text: str, domain: str) -> None:
    """`StartError` if the socket that ``text`` names is not of ``domain``. A ``ListenStream=`` with
    a port alone is INET6, and takes IPv4 too."""
    found, _ = bound_to(text)
    if found != domain:
        raise StartError(f"{text}: what was passed is of another domain; say domain={found}")


def is_loopback(text: str) -> bool:
    """Whether only this machine can connect to the socket that ``text`` names; False where that
    cannot be told."""
    try:
        _, interface = bound_to(text)
    except StartError:
        return False
    return interface is None or ipaddress.ip_address(interface.partition("%")[0]).is_loopback
