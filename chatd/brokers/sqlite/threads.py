"""The threads that use the database, and the group commit that runs in one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from functools import partial
from itertools import accumulate
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.brokers.interfaces import NotStored, Stream, Unavailable
from chatd.brokers.sqlite.batch import Append, Changes, InDoubt, Work
from chatd.brokers.sqlite.damage import is_full, reason

P = ParamSpec("P")
T = TypeVar("T")

#: Records and bytes that may wait while a commit is under way.
WAITING_RECORDS = 20_000
WAITING_BYTES = 32 * 1024 * 1024
#: Pieces of work, and bytes of records, of one commit, at most: what it has stored is handed out in
#: one turn of the reactor, some 30 ms.
COMMIT_RECORDS = 1000
COMMIT_BYTES = 4 * 1024 * 1024

#: Seconds after which the appends of a commit fail, although it may still be written.
PATIENCE = 10.0


class WorkerThread:
    """One thread with a queue.

    Twisted's thread pool can do more, and costs a third more CPU for a single append.
    """

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        # daemon: a disk that never answers must not keep the process from ending
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def post(self, work: Callable[[], object]) -> None:
        """Queue ``work``, which must not raise."""
        self._queue.put(work)

    def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Queue ``work``, which may raise; fires with its result."""
        done: Deferred[T] = Deferred()

        def attempt() -> None:
            try:
                result = work(*args, **kwargs)
            except Exception:
                self._reactor.callFromThread(done.errback, Failure())
            else:
                self._reactor.callFromThread(done.callback, result)

        self._queue.put(attempt)
        return done

    def stop(self) -> None:
        """End the thread once all that is queued was done, without waiting for that: the reactor
        must not stand still for a disk that does not answer."""
        self._queue.put(None)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            work()


class Health(Enum):
    """The outcome of the last commit."""

    WORKING = auto()
    #: It failed, as on a full disk.
    FAILING = auto()
    #: It did not end in time.
    STALLED = auto()


class GroupCommit:
    """Gathers work during a turn of the reactor, and while a commit is under way, into one
    transaction.

    ``commit(batch)`` runs in ``thread``; ``committed(changes)``, or ``in_doubt(streams)`` if it
    raised `InDoubt`, runs in the reactor's thread, before the Deferreds of the batch fire.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        thread: WorkerThread,
        commit: Callable[[list[Work]], Changes],
        committed: Callable[[Changes], None],
        in_doubt: Callable[[Iterable[Stream]], None],
    ) -> None:
        self.health = Health.WORKING
        #: Why nothing can be written, though all can be read: the disk is full; else "".
        self.blocked = ""
        self._reactor = reactor
        self._thread = thread
        self._commit = commit
        self._committed = committed
        self._in_doubt = in_doubt
        self._gathered: list[Work] = []
        self._bytes = 0
        self._turn: IDelayedCall | None = None
        self._began: float | None = None
        self._unanswered: list[Work] = []
        self._flushing: list[Deferred[None]] = []

    def submit(self, work: Work) -> Deferred[None]:
        """Do ``work`` in the next commit. Fails with `Unavailable` or `NoSuchStream`."""
        if self.health is Health.STALLED:
            return fail(NotStored("the disk does not answer"))
        if len(self._gathered) >= WAITING_RECORDS or self._bytes >= WAITING_BYTES:
            return fail(NotStored("too much waits for the disk"))
        self._gathered.append(work)
        if isinstance(work, Append):
            self._bytes += len(work.body)
        if self._turn is None and self._began is None:
            self._turn = self._reactor.callLater(0, self._start)
        return work.done

    def check(self) -> None:
        """Call `give_up` if the commit under way takes too long."""
        if self._began is None or self._reactor.seconds() - self._began < PATIENCE:
            return
        if self.health is not Health.STALLED:
            self._log.error(
                "a commit takes more than {seconds} s; is the disk well?", seconds=PATIENCE
            )
        self.give_up()

    def give_up(self) -> None:
        """Refuse all work that waits, and further work until the disk answers."""
        self.health, self.blocked = Health.STALLED, ""
        begun, self._unanswered = self._unanswered, []
        gathered, self._gathered, self._bytes = self._gathered, [], 0
        _refuse(begun, Unavailable("the disk does not answer"))
        _refuse(gathered, NotStored("the disk does not answer"))

    def flush(self) -> Deferred[None]:
        """Commit everything submitted so far; fires when nothing is left to commit."""
        if self._turn is not None:
            self._turn.cancel()
            self._start()
        if self._began is None:
            return succeed(None)
        flushed: Deferred[None] = Deferred()
        self._flushing.append(flushed)
        return flushed

    def _start(self) -> None:
        self._turn = None
        self._unanswered = batch = self._take()
        self._began = self._reactor.seconds()
        self._thread.post(partial(self._work, batch))

    def _take(self) -> list[Work]:
        """What is next to be committed: all that was gathered, unless that is very much."""
        batch, self._gathered = self._gathered, []
        if len(batch) > COMMIT_RECORDS or self._bytes > COMMIT_BYTES:
            sizes = accumulate(len(w.body) if isinstance(w, Append) else 0 for w in batch)
            most = next((n for n, size in enumerate(sizes) if size > COMMIT_BYTES), len(batch))
            count = max(1, min(most, COMMIT_RECORDS))
            batch, self._gathered = batch[:count], batch[count:]
        self._bytes = sum(len(w.body) for w in self._gathered if isinstance(w, Append))
        return batch

    def _work(self, batch: list[Work]) -> None:
        """Commit ``batch``. Runs in the thread."""
        try:
            changes, fault = self._commit(batch), None
        except Exception as e:
            changes, fault = [], e
        self._reactor.callFromThread(self._done, changes, fault)

    def _done(self, changes: Changes, fault: Exception | None) -> None:
        self._began = None
        answered, self._unanswered = self._unanswered, []
        if self._gathered:
            self._turn = self._reactor.callLater(0, self._start)
        self.report(fault)
        if fault is not None:
            if isinstance(fault, InDoubt):
                self._in_doubt(fault.streams)
            kind = Unavailable if isinstance(fault, InDoubt) else NotStored
            _refuse(answered, kind(f"the record could not be stored: {reason(fault)}"))
        else:
            self._committed(changes)
            for work in answered:
                if work.error is None:
                    work.done.callback(None)
                else:
                    work.done.errback(work.error)
        if self._began is None and self._turn is None:
            flushed, self._flushing = self._flushing, []
            for done in flushed:
                done.callback(None)

    def report(self, fault: BaseException | None) -> None:
        """Note the outcome of a write, and log when it changes."""
        before, self.health = self.health, Health.FAILING if fault else Health.WORKING
        self.blocked = str(fault) if is_full(fault) else ""
        if before is not self.health:
            if fault is not None:
                self._log.error("nothing can be stored: {fault}", fault=fault)
            else:
                self._log.info("records can be stored again")


def _refuse(batch: list[Work], error: Unavailable) -> None:
    for work in batch:
        work.done.errback(error)
