"""Where options are given: the environment and the file of ``--config``, as texts by option.

The command line is read by `chatd.config.options`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from chatd.config import parsers
from chatd.config.table import BY_NAME, OPTIONS, Option

#: The prefix of chatd's environment variables.
PREFIX = "CHATD_"
#: The variable that names the file of ``--config``.
CONFIG = "CHATD_CONFIG"
#: The variables that Kubernetes sets in each container beside a service called chatd
#: (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
_KUBERNETES = re.compile(r"CHATD_(SERVICE_HOST|(SERVICE_)?PORT(_[0-9A-Z_]+)?)")

Given = dict[str, tuple[str, list[str]]]
"""Option name -> (where it was said, for errors; the texts)."""


class Problem(ValueError):
    """One line for the operator: which option, and why."""


def no_such(name: str, known: Iterable[str], where: str, prefix: str = "") -> Problem:
    """The error for an option ``name`` that does not exist, given at ``where``. What is near is
    told without the ``prefix`` that ``name`` and all ``known`` have: it would make all alike."""
    bare = [one.removeprefix(prefix) for one in known]
    near = difflib.get_close_matches(name.removeprefix(prefix), bare, 1)
    hint = f"; did you mean {prefix}{near[0]}?" if near else ""
    return Problem(f"{where}: there is no such option{hint}")


def from_environment(environ: Mapping[str, str]) -> Given:
    """The options in the variables ``CHATD_<NAME>``. Raises `Problem` for a variable that is no
    option: it was probably mistyped."""
    known = {option.variable: option for option in OPTIONS}
    for name in sorted(environ):
        ours = name.startswith(PREFIX) and not _KUBERNETES.fullmatch(name)
        if ours and name not in (*known, CONFIG) and environ[name].strip():
            raise no_such(name, [*known, CONFIG], name, PREFIX)
    given: Given = {}
    for variable, option in known.items():
        value = environ.get(variable, "").strip()
        if value:  # container files unset a variable by setting it to nothing
            parts = [part.strip() for part in value.split(",")] if option.repeated else [value]
            given[option.name] = (variable, [part for part in parts if part])
    return given


def from_file(path: str, said: str = "--config", again: bool = False) -> Given:
    """The options in the TOML file that ``said`` names. Raises `Problem` if it cannot be read, has
    unknown keys, or is a pipe that is to be read ``again``."""
    if again and parsers.is_pipe(path):
        # by now it would hold nothing, or keep the reactor waiting for a writer
        raise Problem(f"{said}: {path} is a pipe, which is read at the start only")
    try:
        # some editors begin a file with U+FEFF, which TOML knows nothing of
        table = tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as e:
        raise Problem(f"{said}: cannot read {path}: {e.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise Problem(f"{said}: {path} is not TOML: {e}") from None
    except ValueError:
        raise Problem(f"{said}: {path!r} is not a path") from None
    given: Given = {}
    for key, value in table.items():
        where = f"{key} in {path}"
        if isinstance(value, dict) and key not in BY_NAME:
            raise Problem(
                f"{where}: there are no sections; write each option at the top, name = value,"
                f" without [{key}]"
            )
        if key not in BY_NAME:
            raise no_such(key, BY_NAME, where)
        given[key] = (where, _texts(BY_NAME[key], value, where))
    return given


def _texts(option: Option, value: Any, where: str) -> list[str]:
    if isinstance(value, list):
        if not option.repeated:
            raise Problem(f"{where}: give one value, not a list")
        return [_text(option, item, where) for item in value]
    if option.flag and isinstance(value, bool):
        return ["yes" if value else "no"]
    if option.read is parsers.endpoint and value is False:
        raise Problem(f'{where}: false closes no port; write "{parsers.OFF}"')
    return [_text(option, value, where)]


def _text(option: Option, value: Any, where: str) -> str:
    if isinstance(value, str):
        if "\0" in value:  # which no file's name may hold, nor any value from elsewhere
            raise Problem(f"{where}: the text holds the character U+0000; leave it out")
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    shown = f", not {json.dumps(value, default=str):.60}" if not option.secret else ""
    raise Problem(f"{where}: give a string or a whole number{shown}")


def anchored(given: Given, folder: str) -> Given:
    """The same options with absolute paths, because twistd may change the working directory."""

    def anchor(read: object, text: str) -> str:
        is_path = read is parsers.file or (read is parsers.log_file and text != parsers.STDOUT)
        return os.path.join(folder, text) if is_path and text else text

    return {
        name: (where, [anchor(BY_NAME[name].read, text) for text in texts])
        for name, (where, texts) in given.items()
    }
