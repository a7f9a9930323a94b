"""The interface of a broker.

A broker keeps **streams**: append-only and ordered, read at any number of offsets at once. All that
chatd stores (rooms, members, messages) is in streams, so a new broker is one new folder that
implements `IBroker` and passes ``tests/contract/broker_suite.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import field, frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface


class Unavailable(Exception):
    """The broker cannot be reached, or did not answer in time; an append may have been stored. The
    text says why, in the broker's own words if it gave a reason."""


class Lagging(Unavailable):
    """As `Unavailable`: what this node reads of the stream lags behind what is stored."""


class NotStored(Unavailable):
    """As `Unavailable`; but the append was not stored."""


class NoSuchStream(Exception):
    """The broker has no such stream."""


class TooLarge(Exception):
    """The broker never takes so large a record; the text gives the limit."""


class NameTooLong(Exception):
    """The broker can have no stream of so long a name; the text says which are short enough."""


@frozen(cache_hash=True)
class Stream:
    """Identifies a stream: one life (``epoch``) of one room, or the directory.

    A stream that was restored from a backup keeps its name on the broker, but is another life,
    because offsets that were used after the backup are used again for other records.
    """

    room: str
    epoch: str
    #: The epoch since a backup was restored; "" if none was.
    restored: str = ""
    #: When this life of the room began, in milliseconds since the epoch; 0 if unknown.
    created: int = field(default=0, eq=False)
    #: The stream's name on the broker, such as ``chatd.room.lobby.3f09ab41c2d8``.
    name: str = field(init=False, eq=False, repr=False)
    #: The epoch in cursors.
    life: str = field(init=False, eq=False, repr=False)

    @name.default
    def _name(self) -> str:
        return f"chatd.room.{self.room}.{self.epoch}" if self.room else "chatd.directory"

    @life.default
    def _life(self) -> str:
        return self.restored or self.epoch


#: The stream of directory events, which no retention applies to.
DIRECTORY = Stream("", "")


@frozen
class Record:
    """A record of a stream. Offsets ascend, and may skip.

    ``fault`` says why readers must skip the record, whatever its body; "" if they need not.
    ``foreign``: another program wrote it, so its time is doubted sooner.
    """

    offset: int
    body: bytes
    fault: str = ""
    foreign: bool = False


@frozen
class Retention:
    """How much of each room is kept: ``age`` in seconds, ``size`` in bytes of record bodies."""

    age: int = 7 * 24 * 3600
    size: int = 100 * 1024 * 1024


@frozen
class Extent:
    """How much of a stream is kept, as far as a broker tells without reading it: about how many
    ``records``; the ``size`` of their bodies, in bytes; the time of the ``latest``, in milliseconds
    since the epoch (0 if there is none). None for what it does not tell."""

    records: int
    size: int | None = None
    latest: int | None = None


class IFollower(Interface):
    """Receives the records of a stream. Called in the reactor's thread, in stream order."""

    def records(batch: Sequence[Record]) -> None:
        """The next records, in ascending order. Each record is passed exactly once."""

    def caught_up(end: int) -> None:
        """All records that were in the stream when following began, or resumed, have been passed.

        ``end`` is the offset of the stream's last record, -1 if it never had one. Called once
        after `IBroker.follow`, and once after each interruption.
        """

    def interrupted() -> None:
        """The broker is away, or `IFollowing.refresh` was called. Following resumes by itself,
        after the last record passed. Called once more if the broker goes away before it has resumed
        from a refresh."""

    def truncated() -> None:
        """Retention removed records before they were passed: the next batch comes after a gap."""

    def gone() -> None:
        """The stream no longer exists. The last call."""


class IFollowing(Interface):
    """The handle that `IBroker.follow` returns."""

    fault = Attribute(
        "str: why the stream cannot be read though the broker is there, such as damage of its "
        "file, or a refusal; '' if it can. Set before `IFollower.interrupted`, which is called "
        "for a stream that was not at its head yet only where waiting would not help."
    )

    def stop() -> None:
        """Stop following. The follower is not called any more. May be called twice."""

    def refresh() -> None:
        """Read again after the last record passed, because a record is missing, if the broker may
        have lost this follower. `IFollower.interrupted` is called at once if it was at the head,
        and `IFollower.caught_up` afterwards."""


class IBroker(Interface):
    """Named streams, and a fan-out between nodes. Also an `IService`.

    ``startService`` raises `StartError` for what an operator must mend (a locked file, a malformed
    address). A broker that is away is retried for ever, with back-off; meanwhile all Deferreds fail
    with `Unavailable` within a bounded time, and nothing is queued.
    """

    restored = Attribute(
        "bool: the streams were restored from a backup, and `restoration_told` was not called yet."
    )
    blocked = Attribute(
        "str: why a broker that is connected takes no records for the time being, in its own "
        "words, such as an alarm of its memory or disk; '' if it does. It is not `ready` then."
    )
    ready = Attribute("bool: connected, so that an append would normally succeed.")
    exact = Attribute(
        "bool: each confirmed append is stored, in the order of the calls, and reaches the "
        "followers. Otherwise a confirm is only a hint (`chatd.brokers.read_back`)."
    )

    def figures() -> Mapping[str, tuple[str, float]]:
        """For metrics: a name (without ``chatd_``) -> (what it is, its present value). A name that
        ends in ``_total`` is a counter, another one a gauge."""

    def restoration_told() -> None:
        """The directory says that a backup was `restored`, so the broker may forget it."""

    def create(stream: Stream) -> Deferred[None]:
        """Create ``stream`` unless it exists, for `open` to make it ready: until then other
        programs' records need not reach it. Fails with `NotStored` if it was not created,
        `Unavailable` if it may have been, or `NameTooLong`."""

    def open(stream: Stream) -> Deferred[None]:
        """Make ``stream``, which was created before, ready for use: fires when a record appended by
        anyone is kept. Fails with `NoSuchStream` where it is no longer there: one made now would be
        another stream, whose offsets begin again, under the same name."""

    def delete(stream: Stream) -> Deferred[None]:
        """Delete ``stream`` and its records. Succeeds if there is no such stream."""

    def append(stream: Stream, body: bytes, message_id: str, time: int) -> Deferred[None]:
        """Append one record. Fires when the broker confirms that the record survives the crash of
        any single process; unless the broker is `exact`, only reading it back proves that.

        ``time`` is in milliseconds since the epoch; retention by age counts from it. Appends to one
        stream are stored in the order of the calls. Fails with `Unavailable` (the record may have
        been stored), `NotStored`, `NoSuchStream` or `TooLarge` (it was not).
        """

    def lane(stream: Stream, more: bool) -> object | None:
        """What appends to ``stream`` go over now, if those that go over it one after another come
        into the stream in that order, and one that is lost takes those after it along; else None.
        A broker may break that, so what is read back counts.

        With ``more`` several of one sender wait, so that such a lane is worth its price: it is made
        ready, to be had a little later. Need not be asked of a broker that is `exact`.
        """

    def distrust(stream: Stream, since: float) -> Deferred[None]:
        """Append over other channels from now on, because records appended to ``stream`` up to
        ``since`` (the clock's seconds) are missing. Fires when, as far as the broker tells, nothing
        more can be stored over the old channels; never fails. Does nothing if `exact`."""

    def trust(stream: Stream) -> None:
        """What `distrust` was called for was in ``stream`` after all: it came late, as it does when
        there is much of it. Does nothing if `exact`."""

    def follow(stream: Stream, tail: int | None, follower: IFollower) -> IFollowing:
        """Pass ``stream`` to ``follower``, from ``tail`` records or more before its end.

        ``None`` means from the oldest record kept; a stream may have fewer than ``tail`` records.
        ``follower`` is not called before this method has returned.
        """

    def read(stream: Stream, start: int, stop: int) -> Deferred[Sequence[Record]]:
        """The records with ``start <= offset < stop``, in ascending order.

        ``start`` may lie before the oldest record kept; the first record tells. The caller bounds
        the range: at most ``stop - start`` records are returned.
        """

    def locate(stream: Stream, time: int) -> Deferred[int]:
        """An offset from which to read in order to find the first record at or after ``time``
        (milliseconds since the epoch): not after that record, and not far before it. The next
        offset to be used if all records are earlier."""

    def end(stream: Stream) -> Deferred[int]:
        """The offset of the last record according to the broker, not to a follower; -1 if there
        never was one. Of a stream that is followed, no record after it was shown to anyone, on any
        node, before this was called."""

    def sync(stream: Stream) -> Deferred[None]:
        """Fires when all of ``stream``, which is followed, has been passed to its follower that was
        stored at the time of the call, as far as the host of the broker knows that this node reads
        from. Unlike `end` it stores nothing there, so it may be asked often. Fails with
        `Unavailable`. Need not be asked of a broker that is `exact`."""

    def extents(streams: Sequence[Stream]) -> Deferred[Sequence[Extent | None]]:
        """How much of each of ``streams`` is kept; None for one that the broker tells nothing of.
        Fails with `Unavailable`."""

    def announce(event: str, room: str, body: bytes) -> bool:
        """Publish an application event (JSON) for other programs, best effort: False if the broker
        takes none now. Does nothing if the broker has no other clients."""

    def broadcast(payload: bytes) -> None:
        """Send ``payload`` to the listeners of all nodes, this one included; best effort."""

    def reconnect(why: str, again: bool) -> None:
        """Connect anew, to another address of the broker if there is one, because broadcasts do not
        reach all nodes. The first time all nodes go to the same address, and those who are there
        listen anew; ``again`` if that did not help, a short time ago. Does nothing if the broker
        has no connections."""

    def listen(handler: Callable[[bytes], None]) -> None:
        """Call ``handler`` with each payload that any node broadcasts."""
