"""The configuration: the validated values of all options."""

from __future__ import annotations

from attrs import field, frozen

from chatd.access.proxies import Network
from chatd.config.parsers import mask_password
from chatd.net.descriptions import Description


@frozen
class Config:
    """The values of all options: sizes in bytes, times in seconds, ``rate`` in messages per second.

    ``websocket``, ``http``, ``setup`` and ``metrics`` are endpoint strings, empty if the port is
    off. Paths of files are absolute. ``hosts`` is empty for the default.
    """

    broker: str = field(repr=mask_password)
    websocket: tuple[str, ...]
    http: tuple[str, ...]
    setup: tuple[str, ...]
    metrics: tuple[str, ...]
    rooms: tuple[str, ...]
    auth: str
    token_key: str | None
    audiences: tuple[str, ...]
    issuers: tuple[str, ...]
    admin_key: str | None
    setup_secret: str | None
    origins: tuple[str, ...]
    hosts: tuple[str, ...]
    retain: int
    retain_bytes: int
    max_text: int
    max_frame: int
    max_unread: int
    rate: float
    room_rate: float
    max_rooms: int
    max_connections: int
    max_connections_per_address: int
    trusted_proxies: tuple[Network, ...]
    #: ``--trusted-proxy unix``: clients on Unix sockets are proxies.
    trust_unix: bool
    #: A path, or ``-`` for standard output.
    access_log: str | None = None
    #: ``text`` or ``json``.
    log_format: str = "text"
    #: The data of the broker were restored from a backup.
    restored: bool = False


def is_loopback_only(config: Config) -> bool:
    """Whether only this machine can connect: all ports are on loopback or Unix sockets."""
    every = (*config.websocket, *config.http, *config.setup)
    return all(Description.parse(text).loopback for text in every)
