"""Every option, declared once: its name, default, reader and help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from chatd.brokers import registry
from chatd.config import parsers
from chatd.telemetry.log import FORMATS


@frozen
class Option:
    """An option. ``read`` turns one text into the value in `Config`, or raises ValueError."""

    name: str
    default: str | None
    read: Callable[[str], Any]
    help: str
    repeated: bool = False
    #: Its field in `Config`, if not named as the option is.
    field: str = ""
    #: On the command line it takes no value.
    flag: bool = False
    #: A change takes effect at SIGHUP; otherwise it needs a restart.
    live: bool = False
    #: May hold a password.
    secret: bool = False

    @property
    def attribute(self) -> str:
        return self.field or self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        return "CHATD_" + self.name.replace("-", "_").upper()

    def documented(self) -> str:
        """The help text with the default, as ``--help`` shows it."""
        more = ", repeatable" if self.repeated else ""
        return f"{self.help} [default: {self.default or 'none'}{more}]"


OPTIONS = (
    Option(
        "broker",
        "sqlite:chatd.sqlite",
        registry.check,
        f"where rooms are kept: {registry.usage()}"
        " (better in CHATD_BROKER or the file: process lists show passwords)",
        secret=True,
    ),
    Option(
        "websocket",
        "tcp:9000:interface=127.0.0.1",
        parsers.endpoint,
        "WebSocket port, a Twisted endpoint string, or off",
        repeated=True,
    ),
    Option(
        "http",
        "tcp:8081:interface=127.0.0.1",
        parsers.endpoint,
        "HTTP port with page, API and /ws, or off",
        repeated=True,
    ),
    Option(
        "setup",
        "tcp:8082:interface=127.0.0.1",
        parsers.endpoint,
        "port for room set-up over raw TCP, or off",
        repeated=True,
    ),
    Option(
        "metrics",
        None,
        parsers.endpoint,
        "port for /metrics alone, for whoever reaches it; on the HTTP port they are for programs of"
        " this machine and for the admin key",
        repeated=True,
    ),
    Option(
        "room",
        "lobby",
        parsers.room,
        "room made at start unless it exists",
        repeated=True,
        field="rooms",
        live=True,
    ),
    Option(
        "auth",
        "open",
        parsers.choice("open", "token"),
        "open: whoever asks is who they say; token: a token says who they are",
    ),
    Option(
        "token-key",
        None,
        parsers.file,
        "file with an HS256 secret, a PEM public key or a JWKS",
        live=True,
    ),
    Option(
        "audience",
        None,
        parsers.text,
        "what the aud of tokens must name; without one, tokens with an aud are refused",
        repeated=True,
        field="audiences",
        live=True,
    ),
    Option(
        "issuer",
        None,
        parsers.text,
        "what the iss of tokens must be",
        repeated=True,
        field="issuers",
        live=True,
    ),
    Option(
        "admin-key",
        None,
        parsers.file,
        "file with the bearer key for administration routes",
        live=True,
    ),
    Option(
        "setup-secret",
        None,
        parsers.file,
        "file with the secret that set-up requests carry",
        live=True,
    ),
    Option(
        "origin",
        None,
        parsers.origin,
        "web origin whose pages may connect besides those chatd serves itself, or * for any",
        repeated=True,
        field="origins",
        live=True,
    ),
    Option(
        "host",
        None,
        parsers.host,
        "name accepted in the Host header, or * for any; without this option any, but while chatd"
        " listens on loopback alone only localhost and literal addresses",
        repeated=True,
        field="hosts",
        live=True,
    ),
    Option("retain", "7d", parsers.age, "how long messages are kept: number and s, m, h or d"),
    Option(
        "retain-bytes", "100MB", parsers.size, "how much each room keeps: number and KB, MB, GB"
    ),
    Option("max-text", "16KB", parsers.size, "longest text of a message, in UTF-8", live=True),
    Option("max-frame", "128KB", parsers.size, "longest WebSocket frame and HTTP body", live=True),
    Option(
        "max-unread",
        "256MB",
        parsers.size,
        "memory for answers that clients do not read, in all; as much again for requests that they"
        " begin and do not end",
        live=True,
    ),
    Option(
        "rate",
        "20/s",
        parsers.rate,
        "messages that a connection (over HTTP: a user) may publish, in a second (/s) or a minute"
        " (/m); twice as many at once",
        live=True,
    ),
    Option("max-rooms", "100000", parsers.count, "how many rooms there may be", live=True),
    Option(
        "room-rate",
        "50/s",
        parsers.rate,
        "rooms that one address may make, in a second (/s) or a minute (/m); twice as many at once",
        live=True,
    ),
    Option(
        "max-connections",
        "50000",
        parsers.count,
        "how many WebSockets, event streams and waiting polls may be open",
        live=True,
    ),
    Option(
        "max-connections-per-address",
        "1000",
        parsers.count,
        "how many of these may be open from one address",
        live=True,
    ),
    Option(
        "trusted-proxy",
        None,
        parsers.proxy,
        "network (CIDR) of a proxy whose X-Forwarded-For, -Proto and -Host are believed, or unix"
        " for whatever connects to a Unix socket",
        repeated=True,
        field="trusted_proxies",
        live=True,
    ),
    Option(
        "access-log",
        None,
        parsers.log_file,
        "file with a line for each request, refused ones too: who, what, how it ended; - for"
        " standard output",
        live=True,
    ),
    Option(
        "log-format",
        "text",
        parsers.choice(*FORMATS),
        "the log as lines for people (text) or an object a line for programs (json)",
    ),
    Option(
        "restored",
        "no",
        parsers.flag,
        "a backup was restored: renew all cursors. For one start, of one node. SQLite's is noticed"
        " without it, unless the file PATH.mark was restored too",
        flag=True,
    ),
)

BY_NAME = {option.name: option for option in OPTIONS}
