"""A SQLite file that was damaged."""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from chatd.brokers.interfaces import DIRECTORY, NoSuchStream, Retention, Stream
from chatd.brokers.sqlite.batch import Append, Create, InDoubt
from chatd.brokers.sqlite.reader import Reader
from chatd.brokers.sqlite.schema import prepare
from chatd.brokers.sqlite.writer import SQLiteWriter
from chatd.errors import StartError

#: Removed when the process ends.
_FOLDER = TemporaryDirectory(prefix="chatd-fuzz-")
_STREAM = Stream("hall", "e1")
#: How a damaged file may be refused: at the start, or in the question, which says unavailable.
REFUSED = (sqlite3.Error, InDoubt, StartError, NoSuchStream)


@cache
def _good() -> bytes:
    path = f"{_FOLDER.name}/good.sqlite"
    prepare(path)
    writer = SQLiteWriter(path, Retention())
    writer.commit([Create(_STREAM), Create(DIRECTORY)])
    writer.commit([Append(_STREAM, b"a record %d" % n, 1_800_000_000_000) for n in range(300)])
    writer.close()
    return Path(path).read_bytes()


def seed() -> bytes:
    """Damage in three places: each is two bytes of place, one of length, and what stands there."""
    return b"\0\x10\1\0" + b"\x10\0\4\xff\xff\xff\xff" + b"\x20\x08\2\0\0"


def damaged(data: bytes) -> None:
    """Damage a good file as ``data`` says, and use it."""
    content, folder = bytearray(_good()), Path(_FOLDER.name)
    place = 0
    while place + 3 <= len(data):
        at = int.from_bytes(data[place : place + 2]) * 7 % len(content)
        put = data[place + 3 : place + 3 + data[place + 2] % 64]
        content[at : at + len(put)] = put
        place += 3 + len(put)
    path = folder / "damaged.sqlite"
    for left in folder.glob("damaged.sqlite*"):
        left.unlink()
    path.write_bytes(content)
    try:
        prepare(str(path))
        writer, reader = SQLiteWriter(str(path), Retention()), Reader(str(path))
    except REFUSED:
        return
    try:
        for use in (
            lambda: reader.end(_STREAM),
            lambda: reader.read(_STREAM, 0, 1000, 0),
            lambda: reader.page(_STREAM, None, 100, 0),
            lambda: reader.locate(_STREAM, 1_800_000_000_000, 0),
            lambda: writer.commit([Append(_STREAM, b"one more", 1_800_000_000_001)]),
            lambda: writer.trim(1, 1_900_000_000_000),
        ):
            try:
                use()
            except REFUSED:
                continue
    finally:
        reader.close()
        writer.close()
