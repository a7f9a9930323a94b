"""Checks before twistd goes into the background.

After that, the process that the operator started can only point to the log.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from attrs import frozen

from chatd.brokers import registry
from chatd.config.settings import Config
from chatd.errors import InUse, StartError
from chatd.net import inherited
from chatd.net.cannot_listen import why_not
from chatd.net.descriptions import Description
from chatd.net.unix_sockets import is_deserted, is_socket

#: The longest path of a Unix socket, in bytes: sun_path without its terminator (unix(7)).
SOCKET_PATH = 107
#: The interfaces that are all of them.
_EVERY = {"", "0.0.0.0", "::"}


@contextmanager
def naming(option: str) -> Iterator[None]:
    """Prefix the text of a `StartError` with the option that it is about."""
    try:
        yield
    except StartError as e:
        if str(e).startswith("--"):
            raise
        raise type(e)(f"--{option}: {e}") from None


def check(
    config: Config, as_user: Callable[[], AbstractContextManager[None]] = nullcontext
) -> None:
    """Raise `StartError` for a port that cannot be opened (`InUse` if another process has it), and
    for a broker that cannot be used by whoever it is in the context ``as_user()``."""
    check_apart(config)
    for option, text in endpoints(config):
        with naming(option):
            check_port(text)
    with naming("broker"), as_user():
        registry.preflight(config.broker)


def check_apart(config: Config) -> None:
    """Raise `StartError` for a port or Unix socket that is given twice."""
    before: list[tuple[str, _Address]] = []
    for option, text in endpoints(config):
        address = _Address.of(text)
        if address is not None:
            for other, taken in before:
                if address.overlaps(taken):
                    both = (
                        "" if address.kind == taken.kind else "; tcp6 takes IPv4 connections, too"
                    )
                    why = f"cannot listen on {address}: --{other} has {taken}{both}"
                    raise StartError(f"--{option}: {why}")
            before.append((option, address))


def endpoints(config: Config) -> Iterator[tuple[str, str]]:
    """The option and the endpoint string of each port."""
    for option in ("websocket", "http", "setup", "metrics"):
        for text in getattr(config, option):
            yield option, text


@frozen
class _Address:
    """Where an endpoint listens: a port of an interface, or a path."""

    kind: str
    interface: str
    port: str

    @classmethod
    def of(cls, text: str) -> _Address | None:
        """That of the endpoint ``text``; None if it is not fixed."""
        outer = Description.parse(text)
        description = outer.inner or outer
        given = description.arguments
        if description.kind == "unix":
            return cls("unix", os.path.realpath(given["address"]), "")
        if description.kind == "systemd":
            try:
                return cls("systemd", str(inherited.descriptor(description.text)), "")
            except StartError:  # which listening says
                return None
        if not int(given.get("port", "0")):
            return None
        interface = given.get("interface", "")
        six = description.kind == "tcp6" or ":" in interface
        return cls("tcp6" if six else "tcp", interface, given["port"])

    def overlaps(self, other: _Address) -> bool:
        """Whether one of the two takes what the other needs."""
        if self.port != other.port:  # a Unix socket has none
            return False
        if self.kind != other.kind:
            return self._takes_both or other._takes_both
        return self.interface == other.interface or not {
            self.interface,
            other.interface,
        }.isdisjoint(_EVERY)

    @property
    def _takes_both(self) -> bool:
        """Whether IPv4 connections come, too (IPV6_V6ONLY of ipv6(7), which Twisted leaves as it
        is)."""
        if self.kind != "tcp6" or self.interface not in _EVERY:
            return False
        try:
            with socket.socket(socket.AF_INET6) as probe:
                return not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        except OSError:  # there is no IPv6 here, which binding says
            return False

    def __str__(self) -> str:
        if self.kind == "systemd":
            return f"the socket that was passed as descriptor {self.interface}"
        host = f"[{self.interface or '::'}]" if self.kind == "tcp6" else self.interface or "*"
        return f"{host}:{self.port}" if self.port else self.interface


def check_port(text: str) -> None:
    """Try the endpoint ``text``. Raises `StartError` if it cannot be opened, `InUse` if another
    process has it."""
    outer = Description.parse(text)
    description = outer.inner or outer
    given = description.arguments
    if description.kind == "unix":
        _check_socket(given["address"])
    elif description.kind == "tls":
        if not os.path.isdir(given["path"]):
            raise StartError(f"{text!r}: {given['path']} is no folder of certificates")
    elif description.kind in ("tcp", "tcp6", "ssl"):
        interface = given.get("interface", "")
        _bind(interface, given["port"], description.kind == "tcp6" or ":" in interface)


def _cannot(interface: str, port: str, error: OSError) -> StartError:
    kind = InUse if error.errno == errno.EADDRINUSE else StartError
    return kind(f"cannot listen on {interface or '*'}:{port}: {why_not(error, int(port))}")


def _bind(interface: str, port: str, six: bool) -> None:
    """Bind the port as Twisted would, and release it."""
    try:
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((interface, int(port)))
    except OSError as e:
        raise _cannot(interface, port, e) from None


def _check_socket(path: str) -> None:
    """Check that a Unix socket can be created at ``path``."""
    folder = os.path.dirname(os.path.abspath(path))
    if len(os.fsencode(path)) > SOCKET_PATH:
        raise StartError(f"cannot listen on {path}: a path here has at most {SOCKET_PATH} bytes")
    if not os.path.isdir(folder):
        raise StartError(f"cannot listen on {path}: its folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartError(f"cannot listen on {path}: this user may not write in {folder}")
    if os.path.isdir(path):
        raise StartError(f"cannot listen on {path}: it is a folder; give the path of a socket")
    if os.path.lexists(path) and not is_socket(path):
        raise StartError(f"cannot listen on {path}: something else than a socket is there")
    if not is_deserted(path):
        taken = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        raise InUse(f"cannot listen on {path}: {why_not(taken)}")
