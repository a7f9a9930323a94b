"""What is wrong with a database: it is damaged, and waiting does not help, so that is said in place
of "away"; or its disk is full, and all of it can still be read."""

from __future__ import annotations

import sqlite3

from attrs import define
from twisted.internet.defer import TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.brokers.interfaces import NotStored, Unavailable

#: What clients are told; the log says what SQLite says.
DAMAGED = "the database is damaged (see the runbook)"


class Damaged(Unavailable):
    """What was asked for lies on a page that is damaged."""


class NoNumbers(sqlite3.DatabaseError):
    """Rows hold no numbers, or others than there can be: SQLite reads such pages as they stand."""


def is_damage(fault: BaseException | None) -> bool:
    """Whether ``fault`` says that the database is damaged (https://www.sqlite.org/rescode.html)."""
    if isinstance(fault, NoNumbers):
        return True
    return _code(fault) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_full(fault: BaseException | None) -> bool:
    """Whether ``fault`` says that there is no space left for what is to be written."""
    return fault is not None and sqlite3.SQLITE_FULL in (_code(fault), _code(fault.__cause__))


def _code(fault: BaseException | None) -> int:
    """The primary result code in ``fault``, 0 if there is none."""
    return (getattr(fault, "sqlite_errorcode", None) or 0) & 0xFF


def reason(fault: BaseException) -> str:
    """``fault`` in words for clients."""
    return DAMAGED if is_damage(fault) or is_damage(fault.__cause__) else str(fault)


@define(eq=False)
class Faults:
    """From what a read or a write of the database ``path`` failed with to `Unavailable`."""

    path: str
    _told: bool = False
    _log = Logger()

    def unreadable(self, failure: Failure) -> Failure:
        """An errback of a read."""
        fault = failure.value
        if self._is_damage(fault):
            raise Damaged(DAMAGED) from None
        if isinstance(fault, sqlite3.Error | TimeoutError):
            raise Unavailable(f"the records cannot be read: {fault}") from None
        return failure

    def unwritable(self, failure: Failure) -> Failure:
        """An errback of what damage alone kept from being written."""
        if self._is_damage(failure.value):
            raise NotStored(DAMAGED) from None
        return failure

    def _is_damage(self, fault: BaseException | None) -> bool:
        """Whether it is; that is logged once."""
        damaged = is_damage(fault)
        if damaged and not self._told:
            self._told = True
            self._log.error("{path} is damaged: {fault}", path=self.path, fault=fault)
        return damaged
