"""``sqlite:FILE``: rooms in one file, for one process."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager
from typing import Any

from chatd.brokers.interfaces import Retention
from chatd.brokers.kinds import Kind
from chatd.brokers.sqlite.broker import SQLiteBroker
from chatd.brokers.sqlite.lock import Lock, cannot_open, cannot_use, refuse_names, unused
from chatd.timing.wall import WallClock

#: How every SQLite database begins (https://www.sqlite.org/fileformat2.html).
_MAGIC = b"SQLite format 3\0"


def _path(address: str) -> str:
    return address.partition(":")[2]


def _check(address: str) -> None:
    if not _path(address):
        raise ValueError("sqlite: needs a file, such as sqlite:chatd.sqlite")


def _make(reactor: Any, wall: WallClock, address: str, retention: Retention) -> SQLiteBroker:
    return SQLiteBroker(reactor, _path(address), retention, wall=wall)


def _preflight(address: str) -> None:
    path = os.path.realpath(_path(address))
    if os.path.isdir(path):
        raise cannot_use(path, "it is a folder; give the name of a file")
    # not if that would make the lock file: twistd may yet switch to another user
    if os.path.exists(f"{path}.lock") or not os.path.isdir(os.path.dirname(path)):
        Lock(path).release()
    _check_file(path)


def _check_file(path: str) -> None:
    """That what is there, if anything is, is a database, under this name alone."""
    refuse_names(path)
    try:
        with open(path, "rb") as file:
            begun = file.read(len(_MAGIC))
    except FileNotFoundError:
        return
    except OSError as e:
        raise cannot_open(path, e) from None
    if begun and begun != _MAGIC:
        raise cannot_use(path, "file is not a database")


def _unused(address: str) -> AbstractContextManager[None]:
    return unused(os.path.realpath(_path(address)))


async def _look(reactor: Any, address: str) -> str:
    path = os.path.realpath(_path(address))
    folder = os.path.dirname(path)
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise cannot_use(path, "this user may not write there")
    free = shutil.disk_usage(folder).free // 1024**2
    if not os.path.exists(path):
        return f"{path}: to be made; {free} MB are free there"
    return f"{path}: {os.path.getsize(path) // 1024} KB; {free} MB are free there"


SQLITE = Kind(("sqlite",), "sqlite:FILE", _check, _make, _look, _preflight, _unused)
