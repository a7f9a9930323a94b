"""Parsing endpoint strings (`twisted.internet.endpoints.serverFromString`)."""

from __future__ import annotations

import ipaddress
import re

from attrs import frozen

from chatd.net import inherited

#: Names of the positional arguments, by kind of endpoint.
_POSITIONS = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "ssl": (
        "port",
        "privateKey",
        "certKey",
        "sslmethod",
        "interface",
        "backlog",
        "extraCertChain",
        "dhParameters",
    ),
    "tls": ("path", "port", "backlog", "interface"),
    "systemd": ("domain", "index", "name"),
    "unix": ("address", "mode", "backlog", "lockfile"),
}
#: The permissions of a socket's file (chmod(2)), in octal.
_MODE = re.compile(r"0{0,3}[0-7]{1,4}", re.ASCII)


@frozen
class Description:
    """A parsed endpoint string: its kind, and its arguments by name (none for unknown kinds)."""

    text: str
    kind: str
    arguments: dict[str, str]
    #: What ``haproxy:`` stands before.
    inner: Description | None = None

    @classmethod
    def parse(cls, text: str) -> Description:
        """Parse ``kind:value:name=value``; a backslash escapes the next character. Raises
        ValueError, which says what is wrong."""
        (kind, *rest) = _fields(text)
        if not rest or len(kind) != 1 or not kind[0].isidentifier():
            raise ValueError("give an endpoint such as tcp:8081:interface=127.0.0.1, or off")
        if kind[0] == "haproxy":
            return cls(text, kind[0], {}, cls.parse(text.partition(":")[2]))
        positions = _POSITIONS.get(kind[0])
        if positions is None:
            known = ", ".join([*_POSITIONS, "haproxy"])
            raise ValueError(
                f"there is no kind of endpoint {kind[0]!r}, only {known}; give one such as"
                " tcp:8081:interface=127.0.0.1"
            )
        arguments = _named(kind[0], positions, rest)
        _check_arguments(kind[0], arguments)
        return cls(text, kind[0], arguments)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect; False if that is unknown."""
        if self.kind == "unix":
            return True
        if self.kind == "systemd":
            return inherited.is_loopback(self.text)
        interface = self.arguments.get("interface", "")
        try:
            return interface == "localhost" or ipaddress.ip_address(interface).is_loopback
        except ValueError:
            return False


def _fields(text: str) -> list[list[str]]:
    fields = [[""]]
    characters = iter(text)
    for c in characters:
        if c == "\\":
            fields[-1][-1] += next(characters, "")
        elif c == ":":
            fields.append([""])
        elif c == "=" and len(fields[-1]) == 1:
            fields[-1].append("")
        else:
            fields[-1][-1] += c
    return fields


#: What whoever wrote an IPv6 address without backslashes has to be told.
_COLONS = r"; in an address write each colon as \:, such as interface=\:\:1"


def _named(kind: str, positions: tuple[str, ...], rest: list[list[str]]) -> dict[str, str]:
    """The arguments by name. Each is given once: an address whose colons are not escaped looks
    like further arguments."""
    plain = [part[0] for part in rest if len(part) == 1]
    if len(plain) > len(positions):
        raise ValueError(f"too many arguments for {kind}:{_COLONS}")
    arguments = dict(zip(positions, plain, strict=False))
    named = [(part[0], part[1]) for part in rest if len(part) == 2]
    for name, value in named:
        if name not in positions:
            raise ValueError(f"{kind}: knows no {name}=")
        if name in arguments:
            raise ValueError(f"{name} is given twice{_COLONS if name == 'interface' else ''}")
        arguments[name] = value
    return arguments


def _check_arguments(kind: str, arguments: dict[str, str]) -> None:
    first = _POSITIONS[kind][0]
    if not arguments.get(first):
        raise ValueError(f"{kind}: the {first} is missing")
    for name, most in (("port", 65535), ("backlog", 65535)):
        value = arguments.get(name, "0")
        if not (value.isascii() and value.isdigit() and int(value) <= most):
            raise ValueError(f"{value!r} is not a {name} (0 to {most})")
    mode = arguments.get("mode", "0")
    if not _MODE.fullmatch(mode):
        raise ValueError(f"{mode!r} is not an octal mode such as 660")
    if kind == "systemd":
        inherited.check(arguments)
    if "sslmethod" in arguments:
        raise ValueError("ssl: takes no sslmethod; TLS 1.2 and above are spoken")
