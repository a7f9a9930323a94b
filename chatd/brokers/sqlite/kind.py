"""``sqlite:FILE``: rooms in one file, for one process."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager
from typing import Any

from chatd.brokers.interfaces import Retention
from chatd.brokers.kinds import Kind
from chatd.brokers.sqlite.broker import SQLiteBroker
from chatd.brokers.sqlite.inspection import check_places, inspect
from chatd.brokers.sqlite.lock import Lock, cannot_use, refuse_names, unused
from chatd.timing.wall import WallClock


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
    check_places(path)
    refuse_names(path)
    inspect(path)


def _unused(address: str) -> AbstractContextManager[None]:
    return unused(os.path.realpath(_path(address)))


async def _look(reactor: Any, address: str) -> str:
    path = os.path.realpath(_path(address))
    folder = os.path.dirname(path)
    check_places(path)
    inspect(path)
    free = shutil.disk_usage(folder).free // 1024**2
    if not os.path.exists(path):
        return f"{path}: to be made; {free} MB are free there"
    return f"{path}: {os.path.getsize(path) // 1024} KB; {free} MB are free there"


SQLITE = Kind(("sqlite",), "sqlite:FILE", _check, _make, _look, _preflight, _unused)
