"""Who may do what, as the operator decided it."""

from __future__ import annotations

import os
import stat

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from chatd.access.admission import Admission
from chatd.access.limits import Connections, sockets_for
from chatd.access.origins import OriginPolicy
from chatd.access.rate_limit import Rate
from chatd.access.rights import Rights
from chatd.access.tokens import Secret, TokenKeys
from chatd.access.turns import FairQueue, allowance
from chatd.access.unread import Unread
from chatd.config.settings import Config, is_loopback_only
from chatd.net.descriptions import Description
from chatd.timing.timer_wheel import TimerWheel
from chatd.timing.wall import WallClock


def make_door(
    config: Config, clock: IReactorTime, wall: WallClock, deadlines: TimerWheel
) -> Admission:
    """The door that ``config`` describes. `StartError` for a key or secret that is none."""
    tokens = None
    if config.token_key is not None:
        tokens = TokenKeys.load(config.token_key, config.audiences, config.issuers)
    rate = Rate(config.rate)
    return Admission(
        clock,
        OriginPolicy(
            origins=config.origins,
            hosts=config.hosts,
            loopback_only=is_loopback_only(config),
            trusted=config.trusted_proxies,
            trust_unix=config.trust_unix,
        ),
        Rights(
            clock,
            wall,
            tokens,
            _secret(config.admin_key, "--admin-key"),
            _secret(config.setup_secret, "--setup-secret"),
        ),
        connections(config),
        sockets_for(config.max_connections, config.max_connections_per_address),
        sockets_for(config.max_connections, config.max_connections_per_address),
        deadlines,
        FairQueue(clock, allowance(rate)),
        Unread(config.max_unread),
        rate,
        Rate(config.room_rate, what="new rooms"),
    )


def metrics_door(config: Config, door: Admission) -> Admission:
    """The door of the port for the metrics: whoever reaches it may read them, so only a name in
    somebody's DNS must not lead there."""
    loopback = all(Description.parse(text).loopback for text in config.metrics)
    return evolve(door, gate=OriginPolicy(hosts=config.hosts, loopback_only=loopback))


def connections(config: Config) -> Connections:
    """A count of connections with the limits of ``config``."""
    return Connections(config.max_connections, config.max_connections_per_address)


def _secret(path: str | None, option: str) -> Secret | None:
    return Secret.load(path, option) if path is not None else None


#: A secret of fewer bytes can be guessed by trying.
GOOD_SECRET_BYTES = 16


def warnings(config: Config, door: Admission) -> list[str]:
    """What an operator should know of these settings, a line each."""
    found = []
    tokens = door.rights.tokens
    if tokens is None and not is_loopback_only(config):
        found.append(
            "Open mode on a port that others can reach: anyone can speak as anyone;"
            " see --auth token."
        )
    if tokens is not None:
        found += [f"Skipped: {line}" for line in tokens.skipped]
        if (weakness := tokens.weakness()) is not None:
            found.append(weakness)
    for option, path, secret in (
        ("--admin-key", config.admin_key, door.rights.admin_key),
        ("--setup-secret", config.setup_secret, door.rights.setup_secret),
    ):
        if path is None or secret is None:
            continue
        if secret.size < GOOD_SECRET_BYTES:
            found.append(
                f"{option}: {path} holds a secret of less than {GOOD_SECRET_BYTES} bytes; anyone"
                " can try to guess it"
            )
        found += _readable(option, path)
    if config.token_key is not None and tokens is not None and tokens.secret:
        found += _readable("--token-key", config.token_key)
    return found


def _readable(option: str, path: str) -> list[str]:
    """A warning if everyone on this machine can read the secret in ``path``."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return []
    if not mode & stat.S_IROTH:
        return []
    return [f"{option}: everyone on this machine can read {path}; chmod o-r it"]
