"""Readers of option values: each takes one text and returns the value, or raises ValueError that
says what is wrong.

They are pure, except `file`, `writable` and `log_file`, which look at the file system.
"""

from __future__ import annotations

import errno
import ipaddress
import math
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from chatd.access import hosts
from chatd.access.proxies import UNIX, Network
from chatd.net.descriptions import Description
from chatd.protocol.errors import ChatError
from chatd.protocol.names import room_name
from chatd.telemetry.log import INHERITED

OFF = "off"
#: Standard output, in place of a log file.
STDOUT = "-"

_AGE = re.compile(r"([0-9]{1,12})([smhd])", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,18})(|KB|MB|GB)", re.ASCII)
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(?:/([sm]))?", re.ASCII)

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}
#: A hundred years, the longest age.
_LONGEST = 100 * 366 * 86400


def mask_password(url: str) -> str:
    """A broker's address with its password masked: ``amqp://user:***@host/``."""
    scheme, separator, rest = url.partition("://")
    # Up to the last @, for a password may hold an @ that someone forgot to escape.
    login, at, where = rest.rpartition("@")
    if not at:
        return url
    return f"{scheme}{separator}{login.partition(':')[0]}:***@{where}"


def choice(*words: str) -> Callable[[str], str]:
    """A reader that accepts one of ``words``."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is not one of {', '.join(words)}")
        return text

    return read


def flag(text: str) -> bool:
    """``yes`` or ``no``."""
    if text not in ("yes", "no"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text == "yes"


def age(text: str) -> int:
    """A whole number and ``s``, ``m``, ``h`` or ``d``, in seconds."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a whole number and s, m, h or d, such as 7d")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= _LONGEST:
        raise ValueError(f"{text!r} is not between 1s and 100 years")
    return seconds


def size(text: str) -> int:
    """A whole number and nothing, ``KB``, ``MB`` or ``GB`` (1024), in bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a whole number and nothing, KB, MB or GB, such as 16KB")
    number = int(match[1]) * _BYTES[match[2]]
    if not 0 < number < 2**63:
        raise ValueError(f"{text!r} is not a size that can be used")
    return number


def count(text: str) -> int:
    """A whole number above 0."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text)):
        raise ValueError(f"{text!r} is not a whole number above 0")
    return int(text)


def rate(text: str) -> float:
    """A number per second (``20/s``, ``20``) or per minute (``90/m``), as a number per second."""
    match = _RATE.fullmatch(text)
    if match is None or not float(match[1]):
        raise ValueError(f"{text!r} is not a number above 0 and /s or /m, such as 20/s")
    per_second = float(match[1]) / (60 if match[2] == "m" else 1)
    assert math.isfinite(per_second)
    return per_second


def text(given: str) -> str:
    """Any text that is not empty."""
    if not given:
        raise ValueError("give a text that is not empty")
    return given


def room(text: str) -> str:
    """A room's name."""
    try:
        return room_name(text)
    except ChatError as e:
        raise ValueError(f"{text!r} is not a room's name: {e.text}") from None


def origin(text: str) -> str:
    """A web origin, normalised, or ``*``."""
    return hosts.normalise_origin(text)


def host(text: str) -> str:
    """A host's name or address, normalised, or ``*``."""
    return text if text == "*" else hosts.host_name(text)


def proxy(text: str) -> Network | str:
    """A network in CIDR notation, an address, or ``unix``."""
    if text == UNIX:
        return text
    try:
        return ipaddress.ip_network(text)
    except ValueError as e:
        raise ValueError(f"{e}; give a network such as 10.0.0.0/8") from None


def file(text: str) -> str:
    """The absolute path of a readable file."""
    if not text:
        raise ValueError("'' is not a path; give the name of a file")
    path = Path(text).absolute()
    try:
        if is_pipe(path):
            # such as the shell's <(...): opening one waits for its writer, reading uses it up
            if not os.access(path, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        else:
            path.open("rb").close()
    except OSError as e:
        raise ValueError(f"cannot read {text}: {e.strerror}") from None
    except ValueError:
        raise ValueError(f"{text!r} is not a path") from None
    return str(path)


def is_pipe(path: str | Path) -> bool:
    """Whether there is a pipe at ``path``, which can be read once. False if it cannot be seen."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def writable(text: str) -> str:
    """The absolute path of a file that can be written, or created, by the effective user."""
    path = Path(text).absolute()
    why = _unwritable(path) if text else "give the name of a file"
    if why:
        raise ValueError(f"cannot write {text!r}: {why}")
    return str(path)


def log_file(text: str) -> str:
    """As `writable`, or `STDOUT`."""
    return text if text == STDOUT else writable(text)


def _unwritable(path: Path) -> str:
    if path.is_dir():
        return "it is a folder"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    if path.exists():
        return "" if _may_write(path) else "this user may not write it"
    return "" if _may_write(path.parent) else f"this user may not write in {path.parent}"


def _may_write(path: Path) -> bool:
    # standard streams are written to as they are, whoever opened them
    return str(path) in INHERITED or os.access(path, os.W_OK, effective_ids=True)


def endpoint(text: str) -> str:
    """A Twisted server endpoint string, or ``off``."""
    if text != OFF:
        try:
            Description.parse(text)
        except ValueError as e:
            raise ValueError(f"{text!r}: {e}") from None
    return text
