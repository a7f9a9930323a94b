"""A broker's address: ``amqp://user:pass@host:port[,host:port...]/vhost?heartbeat=20``.

It follows https://www.rabbitmq.com/uri-spec.html and uri-query-parameters.html, but for the
several hosts.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote_to_bytes

from attrs import field, frozen

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@/?#]*))(?::([0-9]{1,5}))?")
_URL = re.compile(r"(amqps?)://(?:([^/?#]*)@)?([^@/?#]*)(?:/([^?#]*))?(?:\?([^#]*))?")
_FILES = ("cacertfile", "certfile", "keyfile")


class BadURL(ValueError):
    """The address is malformed. The text is one line that says why, and shows no password."""


@frozen
class Host:
    """A host of the broker: its name or its address (IPv6 without brackets), and the port."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@frozen
class BrokerURL:
    """A parsed address. ``heartbeat`` is in seconds, 0 for none. The files are in PEM form, and for
    TLS only."""

    hosts: tuple[Host, ...]
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    heartbeat: int = 20
    tls: bool = False
    cacertfile: str = ""
    certfile: str = ""
    keyfile: str = ""

    def __str__(self) -> str:
        """For logs: without the password."""
        scheme = "amqps" if self.tls else "amqp"
        return f"{scheme}://{self.user}@{','.join(map(str, self.hosts))}/ vhost {self.vhost}"

    @classmethod
    def parse(cls, text: str) -> BrokerURL:
        """Parse an address. Raises `BadURL`."""
        match = _URL.fullmatch(text)
        if match is None:
            raise BadURL("The broker's address is amqp://user:password@host:port/vhost.")
        scheme, login, hosts, vhost, query = match.groups()
        if vhost and "/" in vhost:
            raise BadURL("Write / in the virtual host of the broker's address as %2F.")
        user, password = _login(login)
        tls = scheme == "amqps"
        options = _options(query or "", tls)
        return cls(
            tuple(_host(host, 5671 if tls else 5672) for host in hosts.split(",")),
            user,
            password,
            _decode(vhost, "The virtual host") if vhost else "/",
            _heartbeat(options.pop("heartbeat", "20")),
            tls,
            **options,
        )


def _decode(text: str, what: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise BadURL(f"{what} in the broker's address holds a % that is no escape; write %25.")
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeError:
        raise BadURL(f"{what} in the broker's address is not UTF-8.") from None
    _check(decoded, what)
    if len(decoded.encode("utf-8")) > 255:
        raise BadURL(f"{what} in the broker's address is longer than 255 bytes.")
    return decoded


def _check(decoded: str, what: str) -> None:
    """Raise `BadURL` for what separates user and password (RFC 4616), and ends a file's name."""
    if "\0" in decoded:
        raise BadURL(f"{what} in the broker's address holds %00; leave it out.")


def _login(text: str | None) -> tuple[str, str]:
    if text is None:
        return "guest", "guest"
    user, colon, password = text.partition(":")
    if not user or not colon or "@" in text or ":" in password:
        raise BadURL(
            "Write user:password@ in the broker's address; escape : as %3A, @ as %40, / as %2F."
        )
    return _decode(user, "The user"), _decode(password, "The password")


def _host(text: str, default: int) -> Host:
    match = _HOST.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        raise BadURL("Each host in the broker's address is name:port; IPv6 is [address]:port.")
    port = int(match[3]) if match[3] else default
    if not 0 < port < 65_536:
        raise BadURL("A port in the broker's address is from 1 to 65535.")
    return Host(match[1] or _decode(match[2], "A host"), port)


def _heartbeat(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65_535:
        raise BadURL("heartbeat in the broker's address is a number of seconds, 0 for none.")
    return int(text)


def _options(query: str, tls: bool) -> dict[str, str]:
    known = ("heartbeat", *_FILES) if tls else ("heartbeat",)
    options = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise BadURL(f"The broker's address knows no {name!r:.40}; only {', '.join(known)}.")
        if name in options:
            raise BadURL(f"The broker's address has {name} twice.")
        if name in _FILES and not value:
            raise BadURL(f"{name} in the broker's address names no file.")
        _check(value, name)
        options[name] = value
    if ("certfile" in options) != ("keyfile" in options):
        raise BadURL("Give certfile and keyfile together in the broker's address.")
    return options
