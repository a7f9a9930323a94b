"""Who may do what, as the operator decided it."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from chatd.access.admission import Door
from chatd.access.limits import Connections, sockets_for
from chatd.access.origins import Gate
from chatd.access.rate_limit import Buckets, Rate
from chatd.access.tokens import Secret, TokenKeys
from chatd.config.settings import Config, is_loopback_only
from chatd.timing.timer_wheel import Deadlines
from chatd.timing.wall import WallClock


def make_door(config: Config, clock: IReactorTime, wall: WallClock, deadlines: Deadlines) -> Door:
    """The door that ``config`` describes. `StartError` for a key or secret that is none."""
    rate = Rate(config.rate)
    return Door(
        clock,
        wall,
        Gate(
            origins=config.origins,
            hosts=config.hosts,
            loopback_only=is_loopback_only(config),
            trusted=config.trusted_proxies,
            trust_unix=config.trust_unix,
        ),
        connections(config),
        sockets_for(config.max_connections, config.max_connections_per_address),
        deadlines,
        rate,
        Buckets(rate),
        tokens=TokenKeys.load(config.token_key) if config.token_key is not None else None,
        admin_key=_secret(config.admin_key, "--admin-key"),
        setup_secret=_secret(config.setup_secret, "--setup-secret"),
    )


def connections(config: Config) -> Connections:
    """A count of connections with the limits of ``config``."""
    return Connections(config.max_connections, config.max_connections_per_address)


def _secret(path: str | None, option: str) -> Secret | None:
    return Secret.load(path, option) if path is not None else None


def warnings(config: Config, door: Door) -> list[str]:
    """What an operator should know of these settings, a line each."""
    found = []
    if door.tokens is None and not is_loopback_only(config):
        found.append(
            "Open mode on a port that others can reach: anyone can speak as anyone;"
            " see --auth token."
        )
    weakness = door.tokens.weakness() if door.tokens is not None else None
    if weakness is not None:
        found.append(weakness)
    return found
