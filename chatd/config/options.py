"""The command line, and how it is combined with the environment and the file of ``--config``.

An option on the command line wins over the environment (``CHATD_<NAME>``), which wins over the
file, which wins over the default. A list replaces a list; they are not joined.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from twisted.python import usage

from chatd import __version__
from chatd.access.proxies import UNIX
from chatd.config import parsers, twistd
from chatd.config.settings import Config
from chatd.config.sources import (
    CONFIG,
    Given,
    Problem,
    anchored,
    from_environment,
    from_file,
    no_such,
)
from chatd.config.table import BY_NAME, OPTIONS, Option
from chatd.config.user import as_user
from chatd.protocol.messages import CONTENT_BYTES
from chatd.telemetry.log import Log, one_line
from chatd.telemetry.standard_output import print_all, show_what_cannot_be_written

#: Makes the context in which files are opened as by whom twistd becomes.
AsUser = Callable[[], AbstractContextManager[None]]

# -- from texts to the configuration ---------------------------------------------------------------


def _read(option: Option, given: Given, as_user: AsUser) -> Any:
    default = [option.default] if option.default is not None else []
    where, texts = given.get(option.name, (f"--{option.name}", default))
    try:
        # keys are read while still root; what is written is so later
        with as_user() if option.read is parsers.log_file else nullcontext():
            read = [option.read(text) for text in texts]
    except ValueError as e:
        raise Problem(f"{where}: {e}") from None
    if not option.repeated:
        return read[-1] if read else None
    if option.read is parsers.endpoint and parsers.OFF in read:
        if len(read) > 1:
            raise Problem(f"{where}: give endpoints or off, not both")
        return ()
    return tuple(dict.fromkeys(read))


def _configure(given: Given, as_user: AsUser) -> Config:
    read: dict[str, Any] = {option.attribute: _read(option, given, as_user) for option in OPTIONS}
    proxies = read["trusted_proxies"]
    read["trust_unix"] = UNIX in proxies
    read["trusted_proxies"] = tuple(p for p in proxies if p != UNIX)
    config = Config(**read)
    _check_together(config, given)
    return config


def _check_together(config: Config, given: Given) -> None:
    """Raise `Problem` for values that do not go together."""

    def where(name: str) -> str:
        return given[name][0] if name in given else f"--{name}"

    if config.auth == "token" and config.token_key is None:
        raise Problem(f"{where('auth')}: token needs a key; give --token-key FILE")
    if config.auth == "open":
        of_tokens = {
            "token-key": config.token_key,
            "audience": config.audiences,
            "issuer": config.issuers,
        }
        for name, value in of_tokens.items():
            if value:  # who gives one expects it to be used
                why = "open mode checks no tokens; give --auth token as well"
                raise Problem(f"{where(name)}: {why}")
    if config.max_text > CONTENT_BYTES:
        most = f"{CONTENT_BYTES} bytes (64KB), with its data"
        raise Problem(f"{where('max-text')}: {config.max_text} is too long: a message has {most}")
    if config.max_frame < config.max_text:
        raise Problem(
            f"{where('max-frame')}: {config.max_frame} bytes hold no text of {config.max_text}, as"
            f" --max-text allows; give {config.max_text} or more"
        )


# -- the options of twistd chatd -------------------------------------------------------------------

#: The options of the command line alone.
_OTHERS = ("check", "config", "help", "version")
#: What getopt says: ``option --foo not recognized``.
_COMPLAINT = re.compile(r"option (--?[^\s]+) (.*)", re.DOTALL)
#: In words that say what to do.
_GETOPT = {
    "requires argument": "give a value after it",
    "must not have an argument": "it takes no value; leave out the = and what follows",
}


def _begin_with_option(complaint: str) -> str:
    """getopt's message, with the option first."""
    match = _COMPLAINT.fullmatch(complaint)
    if match is None:
        return complaint
    option, why = match.groups()
    if why == "not recognized":
        known = [f"--{name}" for name in (*BY_NAME, *_OTHERS)]
        return str(no_such(option, known, option, "--"))
    return f"{option}: {_GETOPT.get(why, why)}"


def _handler(option: Option) -> Callable[..., None]:
    def handle(self: Options, value: str) -> None:
        texts = self.given.setdefault(option.name, (f"--{option.name}", []))[1]
        texts.append(value)

    def mark(self: Options) -> None:
        handle(self, "yes")

    handler = mark if option.flag else handle
    handler.__doc__ = option.documented()
    return handler


class Options(usage.Options):
    """The options of ``twistd chatd``. After parsing, ``config`` holds the result.

    An error ends the process with one line on standard error and status 1. It is raised as
    SystemExit, because twistd would answer `usage.UsageError` with the whole usage text.
    """

    config: Config
    longdesc: ClassVar[str] = (
        "Every option may also stand in the file of --config, under its name (a list where it is"
        " repeatable), or in the environment as CHATD_<NAME> (dashes become _, commas between the"
        " items of a list). The command line wins over the environment, that over the file. SIGHUP"
        " reads the file, keys, secrets, limits, origins and hosts again."
    )

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        try:
            self._folder = os.getcwd()
        except OSError as e:  # deleted, perhaps by who made it anew
            why = f"chatd: the working directory cannot be used: {e.strerror}; cd to another one"
            raise SystemExit(why) from None
        self.given: Given = {}
        #: What was given, by the source that won.
        self.said: Given = {}
        #: chatd's own log, or None if the operator chose another observer or syslog.
        self.log: Log | None = None
        #: ``--check`` was given.
        self.check = False
        variable = self._environ.get(CONFIG, "").strip()
        #: Where the file of ``--config`` was named, and its path, if it was.
        self._file = (CONFIG, variable) if variable else None
        super().__init__()

    def opt_config(self, path: str) -> None:
        """TOML file with options [default: none]"""
        if not path:
            raise Problem("--config: '' is not a path; give the name of a file")
        self._file = "--config", path

    def opt_check(self) -> None:
        """try settings, keys, certificates, files and the broker, say what they mean, and exit"""
        self.check = True

    def opt_version(self) -> None:
        """show the version and exit"""
        raise SystemExit(0 if print_all(f"chatd {__version__}") else 1)

    def opt_help(self) -> None:
        """show this help and exit"""
        raise SystemExit(0 if print_all(str(self)) else 1)

    def parseArgs(self, *args: str) -> None:
        """There are none: every setting is an option."""
        if args:
            raise usage.UsageError(f"{args[0]!r} is not an option; options begin with --")

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line, and combine it with the other sources into ``config``."""
        show_what_cannot_be_written()
        try:
            super().parseOptions(options)
            if self.parent is not None:
                twistd.settle(self.parent, self.check)
            self.config = self.read()
            if self.parent is not None:
                self.log = twistd.take_log(self.parent, self.config.log_format, self.check)
        except (usage.UsageError, Problem) as e:
            why = _begin_with_option(str(e))
            raise SystemExit(f"chatd: {one_line(why)}") from None

    def as_user(self) -> AbstractContextManager[None]:
        """A context in which files are opened as by whom twistd is told to become."""
        return as_user(self.parent or {})

    def read(self) -> Config:
        """The configuration that all sources give now; the file may have changed since the start.
        Raises `Problem`."""
        file: Given = {}
        if self._file is not None:
            where, path = self._file
            again = hasattr(self, "config")
            file = from_file(os.path.join(self._folder, path), where, again)
        said = anchored(file | from_environment(self._environ) | self.given, self._folder)
        config = _configure(said, self.as_user)
        if config.access_log == parsers.STDOUT and self.parent is not None and not self.check:
            twistd.check_output(self.parent, said["access-log"][0])
        self.said = said
        return config


for _option in OPTIONS:
    # usage.Options finds its handlers as methods named opt_<name>
    setattr(Options, "opt_" + _option.name.replace("-", "_"), _handler(_option))
