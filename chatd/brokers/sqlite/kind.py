"""``sqlite:FILE``: rooms in one file, for one process."""

from __future__ import annotations

import os
from typing import Any

from chatd.brokers.interfaces import Retention
from chatd.brokers.kinds import Kind
from chatd.brokers.sqlite.broker import SQLiteBroker
from chatd.brokers.sqlite.lock import Lock
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
    # not if that would make the lock file: twistd may yet switch to another user
    if os.path.exists(f"{path}.lock") or not os.path.isdir(os.path.dirname(path)):
        Lock(path).release()


SQLITE = Kind(("sqlite",), "sqlite:FILE", _check, _make, _preflight)
