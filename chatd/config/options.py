"""The command line: every option, its default, where else it may be given, and what it may say.

An option on the command line wins over the environment (``CHATD_<NAME>``), the environment over
the file of ``--config``, and that over the default. A list replaces a list; lists are not joined.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from twisted.python import usage

from chatd import __version__
from chatd.config import parsers as values
from chatd.config import twistd
from chatd.config.settings import Config as Config
from chatd.config.settings import is_loopback_only as is_loopback_only
from chatd.config.table import BY_NAME
from chatd.config.table import OPTIONS as OPTIONS
from chatd.config.table import Option as Option


class Problem(ValueError):
    """One line for the operator: which option, and why."""


# -- sources: each gives, per option named, the texts it was given ---------------------------------

Given = dict[str, tuple[str, list[str]]]
"""Option name -> (where it was said, for errors; the texts)."""


def _from_environment(environ: Mapping[str, str]) -> Given:
    given: Given = {}
    for option in OPTIONS:
        value = environ.get(option.variable, "").strip()
        if value:  # set to nothing is how container files say unset
            parts = [part.strip() for part in value.split(",")] if option.repeated else [value]
            given[option.name] = (option.variable, [part for part in parts if part])
    return given


def _from_file(path: str) -> Given:
    try:
        with Path(path).open("rb") as file:
            table = tomllib.load(file)
    except OSError as e:
        raise Problem(f"--config: cannot read {path}: {e.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise Problem(f"--config: {path} is not TOML: {e}") from None
    given: Given = {}
    for key, value in table.items():
        if key not in BY_NAME:
            near = difflib.get_close_matches(key, BY_NAME, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise Problem(f"{key} in {path}: there is no such option{hint}")
        where = f"{key} in {path}"
        given[key] = (where, _toml_texts(BY_NAME[key], value, where))
    return given


def _toml_texts(option: Option, value: Any, where: str) -> list[str]:
    if isinstance(value, list):
        if not option.repeated:
            raise Problem(f"{where}: give one value, not a list")
        return [_toml_text(item, where) for item in value]
    if option.flag and isinstance(value, bool):
        return ["yes" if value else "no"]
    return [_toml_text(value, where)]


def _toml_text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Problem(f"{where}: give a string or a whole number")


# -- from texts to the configuration ---------------------------------------------------------------


def _read(option: Option, given: Given) -> Any:
    default = [option.default] if option.default is not None else []
    where, texts = given.get(option.name, (f"--{option.name}", default))
    try:
        read = [option.read(text) for text in texts]
    except ValueError as e:
        raise Problem(f"{where}: {e}") from None
    if not option.repeated:
        return read[-1] if read else None
    if option.read is values.endpoint and values.OFF in read:
        if len(read) > 1:
            raise Problem(f"{where}: give endpoints or off, not both")
        return ()
    return tuple(dict.fromkeys(read))


def _configure(given: Given) -> Config:
    read: dict[str, Any] = {option.attribute: _read(option, given) for option in OPTIONS}
    proxies = read["trusted_proxies"]
    read["trust_unix"] = values.UNIX in proxies
    read["trusted_proxies"] = tuple(p for p in proxies if p != values.UNIX)
    config = Config(**read)
    if config.auth == "token" and config.token_key is None:
        raise Problem("--auth token needs --token-key FILE")
    if config.auth == "open" and config.token_key is not None:
        # who gives a key expects a lock
        raise Problem("--token-key: open mode checks no tokens; give --auth token as well")
    if config.max_text > values.CONTENT_BYTES:
        raise Problem(f"--max-text: a message holds at most {values.CONTENT_BYTES} bytes")
    if config.max_frame < config.max_text:
        raise Problem("--max-frame: must not be smaller than --max-text, or no such text fits")
    return config


# -- the options of twistd chatd -------------------------------------------------------------------


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
    """The options of ``twistd chatd``; after parsing, ``config`` holds the outcome.

    Whatever is wrong ends the process with one line on standard error and status 1. That is said
    with SystemExit because twistd answers `usage.UsageError` with the whole usage text.
    """

    config: Config
    longdesc: ClassVar[str] = (
        "Every option may also stand in the file of --config, under its name (a list where it is"
        " repeatable), or in the environment as CHATD_<NAME> (dashes become _, commas between the"
        " items of a list). The command line wins over the environment, that over the file."
    )

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self.given: Given = {}
        self.file = self._environ.get("CHATD_CONFIG") or None
        super().__init__()

    def opt_config(self, path: str) -> None:
        """TOML file with options [default: none]"""
        self.file = path

    def opt_version(self) -> None:
        """show the version and exit"""
        print(f"chatd {__version__}")
        raise SystemExit(0)

    def opt_help(self) -> None:
        """show this help and exit"""
        print(self)
        raise SystemExit(0)

    def parseArgs(self, *args: str) -> None:
        """There are none: every setting is an option."""
        if args:
            raise usage.UsageError(f"{args[0]!r} is not an option; options begin with --")

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse, then gather the other sources into ``config``."""
        try:
            super().parseOptions(options)
            if self.parent is not None:
                twistd.settle(self.parent)
            file = _from_file(self.file) if self.file else {}
            self.config = _configure(file | _from_environment(self._environ) | self.given)
        except (usage.UsageError, Problem) as e:
            raise SystemExit(f"chatd: {values.one_line(str(e))}") from None


for _option in OPTIONS:
    # usage.Options finds its handlers as methods named opt_<name>
    setattr(Options, "opt_" + _option.name.replace("-", "_"), _handler(_option))
