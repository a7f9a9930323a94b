"""The access rules that the options describe: made at the start, and renewed at a reload."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from chatd.access.admission import Admission
from chatd.access.budget import Unread
from chatd.access.fair_queue import FairQueue, allowance
from chatd.access.limits import Connections, sockets_for
from chatd.access.origins import OriginPolicy
from chatd.access.proxies import Proxies
from chatd.access.rate_limit import Rate
from chatd.access.rights import Rights
from chatd.access.tokens import Secret, TokenKeys
from chatd.config.parsers import STDOUT, is_pipe
from chatd.config.settings import Config, is_loopback_only
from chatd.errors import StartError
from chatd.net.descriptions import Description
from chatd.telemetry.access_log import AccessLog
from chatd.telemetry.log import Output
from chatd.timing.timer_wheel import TimerWheel
from chatd.timing.wall import WallClock

T = TypeVar("T")


def make_admission(
    config: Config, clock: IReactorTime, wall: WallClock, deadlines: TimerWheel
) -> Admission:
    """The access rules of ``config``. Raises `StartError` for a file without a key or secret."""
    rate = Rate(config.rate)
    return Admission(
        clock,
        _origin_policy(config),
        Rights(
            clock,
            wall,
            _token_keys(config),
            _secret(config.admin_key, "--admin-key"),
            _secret(config.setup_secret, "--setup-secret"),
        ),
        connections(config),
        sockets_for(config.max_connections, config.max_connections_per_address),
        sockets_for(config.max_connections, config.max_connections_per_address),
        deadlines,
        FairQueue(clock, allowance(rate)),
        Unread(config.max_unread, clock),
        rate,
        Rate(config.room_rate, what="new rooms"),
        _access_log(config, wall),
    )


def renew_admission(admission: Admission, config: Config) -> list[str]:
    """Apply the keys, secrets, limits, origins and hosts of ``config`` to ``admission``, which an
    earlier configuration made. Returns a line for each key file that cannot be used (that key
    then stays as it was), and for an access log that cannot be written."""
    rights, faults = admission.rights, []

    def read(
        option: str, path: str | None, load: Callable[[], T | None], old: T | None
    ) -> T | None:
        if path is not None and is_pipe(path):  # it would hold nothing, or be waited for
            faults.append(f"{option}: {path} is a pipe, which is read at the start only")
            return old
        try:
            return load()
        except StartError as e:
            faults.append(str(e))
            return old

    def secret(option: str, path: str | None, old: Secret | None) -> Secret | None:
        return read(option, path, lambda: _secret(path, option), old)

    if rights.tokens is not None:  # the mode, open or token, is decided at the start
        keys = partial(_token_keys, config)
        rights.tokens = read("--token-key", config.token_key, keys, rights.tokens)
    rights.admin_key = secret("--admin-key", config.admin_key, rights.admin_key)
    rights.setup_secret = secret("--setup-secret", config.setup_secret, rights.setup_secret)
    admission.origin_policy = _origin_policy(config)
    if admission.access_log is not None:
        admission.access_log.output.close()
    admission.access_log = _access_log(config, rights.wall)
    faults += reopen_access_log(admission)
    admission.set_rates(Rate(config.rate), Rate(config.room_rate, what="new rooms"))
    admission.unread.limit = admission.unfinished.limit = config.max_unread
    set_connections(admission.connections, config)
    bare = sockets_for(config.max_connections, config.max_connections_per_address)
    for counted in (admission.sockets, admission.requests):
        counted.limit, counted.per_address = bare.limit, bare.per_address
    admission.standing.recheck()
    return faults


def reopen_access_log(admission: Admission) -> list[str]:
    """Open the access log anew, if there is one. Returns a line if it cannot be written."""
    log = admission.access_log
    return log.output.reopen("the access log") if log is not None else []


def metrics_admission(config: Config, admission: Admission) -> Admission:
    """The access rules of ports for metrics alone. Anyone who reaches such a port may read them, so
    only the Host is checked, against DNS rebinding."""
    return evolve(admission, origin_policy=metrics_origin_policy(config))


def metrics_origin_policy(config: Config) -> OriginPolicy:
    """The Host names that the ports for metrics answer to."""
    loopback = all(Description.parse(text).loopback for text in config.metrics)
    return OriginPolicy(hosts=config.hosts, loopback_only=loopback)


def connections(config: Config) -> Connections:
    """A count of connections, with the limits of ``config``."""
    return Connections(config.max_connections, config.max_connections_per_address)


def set_connections(counted: Connections, config: Config) -> None:
    """Apply the limits of ``config`` to ``counted``."""
    counted.limit = config.max_connections
    counted.per_address = config.max_connections_per_address


def _origin_policy(config: Config) -> OriginPolicy:
    return OriginPolicy(
        origins=config.origins,
        hosts=config.hosts,
        loopback_only=is_loopback_only(config),
        proxies=Proxies(config.trusted_proxies, config.trust_unix),
    )


def _access_log(config: Config, wall: WallClock) -> AccessLog | None:
    if config.access_log is None:
        return None
    path = config.access_log if config.access_log != STDOUT else None
    return AccessLog(Output(path), config.log_format == "json", wall.seconds)


def _token_keys(config: Config) -> TokenKeys | None:
    if config.token_key is None:
        return None
    return TokenKeys.load(config.token_key, config.audiences, config.issuers)


def _secret(path: str | None, option: str) -> Secret | None:
    return Secret.load(path, option) if path is not None else None
