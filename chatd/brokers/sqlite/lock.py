"""The lock that keeps a second process from using the database."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from chatd.errors import InUse, StartError


class Lock:
    """Holds flock(2) on ``PATH.lock``, and writes the process id there. Raises `StartError`.

    The lock must be a regular file with one name: through a link, planted by somebody who may write
    in the folder, another file would be overwritten.
    """

    def __init__(self, path: str) -> None:
        self._path = f"{path}.lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self._file = os.open(self._path, flags, 0o600)
        except OSError as e:
            if e.errno == errno.ELOOP:
                raise self._no_file(path) from None
            raise cannot_open(path, e) from None
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            os.close(self._file)
            raise self._no_file(path)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            raise cannot_use(
                path,
                f"process {holder or 'unknown'} has it open; stop that one, or give this one a"
                " file of its own with --broker sqlite:PATH",
                InUse,
            ) from None
        with suppress(OSError):  # only a hint for people: on a full disk the lock holds without it
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def _no_file(self, path: str) -> StartError:
        return cannot_use(path, f"{self._path} is no plain file of its own; remove it")

    def release(self) -> None:
        """Release the lock."""
        # the file stays: if it were removed, two processes could lock two files of this name
        with suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)


def refuse_names(path: str) -> None:
    """Raise `StartError` if the database ``path`` has a second name, a hard link. The lock and the
    write-ahead log are found by the name: another process would write into the same file under the
    other one, and not see what is only in the log
    (https://www.sqlite.org/howtocorrupt.html, section 2.5)."""
    with suppress(OSError):  # that it cannot be opened is said where it is opened
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            raise cannot_use(
                path,
                "it has another name, too (a hard link), under which a second process could write"
                " into it; remove that name, or give a copy",
            )


@contextmanager
def unused(path: str) -> Iterator[None]:
    """Hold the lock of the database ``path``, so that nobody opens it meanwhile; nothing is made
    where it has none. Raises `InUse` if a process has it open, or `StartError`."""
    lock = Lock(path) if os.path.lexists(f"{path}.lock") else None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def cannot_use(path: str, why: str, kind: type[StartError] = StartError) -> StartError:
    """The `StartError` for a database file that cannot be used."""
    return kind(f"--broker: cannot use the database {path}: {why}")


def cannot_begin(path: str, error: sqlite3.Error) -> StartError:
    """The `StartError` for a database that SQLite cannot use."""
    # the second: no room for the index of the write-ahead log
    full = getattr(error, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")
    return cannot_use(path, "its disk is full; free some space first" if full else str(error))


def cannot_open(path: str, error: OSError) -> StartError:
    """The `StartError` for a database file that cannot be opened."""
    advice = {
        errno.ENOENT: "its folder does not exist; create it first",
        errno.EACCES: "this user may not write there; change its permissions, or give another",
        errno.EISDIR: "it is a folder; give the name of a file",
    }
    return cannot_use(path, advice.get(error.errno or 0, error.strerror or str(error)))
