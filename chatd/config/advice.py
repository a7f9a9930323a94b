"""Warnings about settings that are valid, but that an operator should know about."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from chatd.access.admission import Admission
from chatd.access.limits import sockets_for
from chatd.access.tokens import Secret
from chatd.config.parsers import is_pipe
from chatd.config.settings import Config, is_loopback_only
from chatd.net.descriptions import Description
from chatd.net.inherited import left_over
from chatd.protocol.messages import CONTENT_BYTES
from chatd.timing.onlooker import Onlooker

#: A secret with fewer bytes can be guessed.
GOOD_SECRET_BYTES = 16
#: Files of a process besides its clients': database, broker, log, libraries.
OWN_FILES = 100
#: Seconds between two looks at what there is to be warned of.
EVERY = 3600.0


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one: shells and service managers start most
    processes with 1,024, even where more are allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Adviser(Onlooker):
    """Logs what each of ``about`` returns, a line for each warning: when it is told to, and every
    `EVERY` seconds, because certificates come to their end by themselves."""

    name = "advice"
    _log = Logger()

    def __init__(self, clock: IReactorTime, *about: Callable[[], Iterable[str]]) -> None:
        super().__init__(clock)
        self._about = about
        self._told: list[str] = []

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._look_in(EVERY)

    def _look(self) -> None:
        self.say()
        self._look_in(EVERY)

    def say(self) -> tuple[()]:
        """Log the warnings that were not there the last time. Returns no faults, as a source of
        `chatd.service.reload.Reloader`."""
        told, self._told = self._told, [line for about in self._about for line in about()]
        for line in self._told:
            if line not in told:
                self._log.warn("{advice}", advice=line)  # Twisted has a use for the key "warning"
        return ()


def warnings(config: Config, admission: Admission) -> list[str]:
    """The warnings about ``config`` and the keys of ``admission``, a line each."""
    return [
        *_exposure(config, admission),
        *_left_over(config),
        *_sizes(config),
        *_secrets(config, admission),
    ]


def closed_to_us(config: Config, certificates: Iterable[str]) -> Iterator[str]:
    """A line for each file with a key of ``config``, or of ``certificates``, that this user may not
    read, although it was read at the start, by root: what is renewed would expire unnoticed."""
    for path in (*certificates, config.token_key, config.admin_key, config.setup_secret):
        if path is not None and _is_closed(path):
            yield (
                f"{path}: the user that chatd runs as may not read it; when it is replaced, a"
                " reload (SIGHUP) will not do, only a restart"
            )


def _is_closed(path: str) -> bool:
    try:
        if not is_pipe(path):  # whose writer would be told that it is read
            open(path, "rb").close()
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def _exposure(config: Config, admission: Admission) -> Iterator[str]:
    if admission.rights.tokens is None and not is_loopback_only(config):
        yield (
            "Open mode on a port that others can reach: anyone can speak as anyone;"
            " see --auth token."
        )
    if not (config.http or config.websocket or config.setup):
        yield "--http, --websocket, --setup: every port is off, so nobody can connect."


def _left_over(config: Config) -> Iterator[str]:
    every = (*config.http, *config.websocket, *config.setup, *config.metrics)
    given = [Description.parse(text) for text in every]
    inherited = [one.inner or one for one in given]
    for index in left_over(one.text for one in inherited if one.kind == "systemd"):
        yield (
            f"A socket unit passed a socket that no port takes ({index}): who connects to it waits"
            " in vain. Sockets of one FileDescriptorName= are told apart by their index."
        )


def _sizes(config: Config) -> Iterator[str]:
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most, each = config.max_connections, config.max_connections_per_address
    needed = sockets_for(most, each).limit + OWN_FILES
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        yield (
            f"--max-connections: {most} need {needed} open files, and this process may have"
            f" {allowed}; raise LimitNOFILE or ulimit -n, or allow fewer connections."
        )
    if config.retain_bytes < CONTENT_BYTES:
        yield (
            f"--retain-bytes: {config.retain_bytes} bytes are less than one message may have"
            f" ({CONTENT_BYTES}); rooms will keep next to nothing."
        )
    if config.max_unread < config.max_frame:
        yield (
            f"--max-unread: {config.max_unread} bytes are less than one request may have"
            f" (--max-frame: {config.max_frame}); who sends such a one is cut off, unheard."
        )


def _secrets(config: Config, admission: Admission) -> Iterator[str]:
    tokens = admission.rights.tokens
    if tokens is not None:
        yield from (f"Skipped: {line}" for line in tokens.skipped)
        if (weakness := tokens.weakness()) is not None:
            yield weakness
    for option, path, secret in (
        ("--admin-key", config.admin_key, admission.rights.admin_key),
        ("--setup-secret", config.setup_secret, admission.rights.setup_secret),
    ):
        if path is None or secret is None:
            continue
        if secret.size < GOOD_SECRET_BYTES:
            yield (
                f"{option}: {path} holds a secret of less than {GOOD_SECRET_BYTES} bytes; anyone"
                " can try to guess it"
            )
        if option == "--admin-key":
            yield from _unspeakable(option, path, secret)
        yield from _readable(option, path)
    if config.token_key is not None and tokens is not None and tokens.secret:
        yield from _readable("--token-key", config.token_key)


def _unspeakable(option: str, path: str, secret: Secret) -> Iterator[str]:
    if not secret.is_bearer:
        yield (
            f"{option}: {path} holds what not every client can send in an Authorization header; a"
            " key is visible ASCII characters"
        )


def _readable(option: str, path: str) -> Iterator[str]:
    """A warning if everyone on this machine can read the secret in ``path``."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if mode & stat.S_IROTH:
        yield f"{option}: everyone on this machine can read {path}; chmod o-r it"
