"""What the domain asks of a broker.

A broker offers **streams** and nothing else: append-only, ordered, read by any number of cursors
at once. Everything chatd keeps (rooms, members, messages) is folded from streams, so a new broker
is one new folder that provides `IBroker` and passes ``tests/contract/broker_suite.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import field, frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from chatd.errors import StartError as StartError


class Unavailable(Exception):
    """The broker cannot be reached or did not confirm in time; whether it stored is unknown. The
    text says why, in the broker's own words where there are some."""


class NotStored(Unavailable):
    """The same, where it is known that nothing was stored."""


class NoSuchStream(Exception):
    """The broker was asked, and has no stream of that name."""


class TooLarge(Exception):
    """The broker takes no record as large as that, now or later; the text says what it takes."""


@frozen
class Stream:
    """The name of a stream: one life (``epoch``) of one room, or the directory.

    A stream that was restored from a backup is on the broker what it was, and yet another life:
    its offsets may be given again to other records.
    """

    room: str
    epoch: str
    #: What tells this life from the one before the backup was restored; "" if none was.
    restored: str = ""
    #: When this life of the room began, in milliseconds since the epoch; 0 if that is not known.
    created: int = field(default=0, eq=False)

    @property
    def name(self) -> str:
        """The stream's name on the broker, such as ``chatd.room.lobby.3f09ab41c2d8``."""
        return f"chatd.room.{self.room}.{self.epoch}" if self.room else "chatd.directory"

    @property
    def life(self) -> str:
        """The epoch that cursors carry."""
        return self.restored or self.epoch


#: Which rooms and members exist. Kept for ever, whatever the retention of rooms.
DIRECTORY = Stream("", "")


@frozen
class Record:
    """One entry of a stream. Offsets only grow; they need not be contiguous.

    ``fault`` says why it is none that a reader may be shown, whatever its body; "" if it is one.
    """

    offset: int
    body: bytes
    fault: str = ""


@frozen
class Retention:
    """How much of each room is kept: seconds of age, bytes of bodies. The directory is exempt."""

    age: int = 7 * 24 * 3600
    size: int = 100 * 1024 * 1024


class IFollower(Interface):
    """Receives a stream as it grows. All calls come on the reactor thread, in stream order."""

    def records(batch: Sequence[Record]) -> None:
        """Take the next records: offsets ascending, each handed over exactly once."""

    def caught_up(end: int) -> None:
        """All that was in the stream when following (re)started has been handed over.

        ``end`` is the offset of the stream's last record, -1 if it never had one. Called once
        after `IBroker.follow` and once after each interruption.
        """

    def interrupted() -> None:
        """The broker is away. Following resumes by itself after the last record handed over."""

    def truncated() -> None:
        """Retention removed records that were never handed over; the next batch follows a gap."""

    def gone() -> None:
        """The stream no longer exists. No further call is made."""


class IFollowing(Interface):
    """What `IBroker.follow` returns."""

    def stop() -> None:
        """End following; no call reaches the follower after this. May be called twice."""

    def refresh() -> None:
        """A record has not come: begin again after the last one handed over, if the broker can
        have lost sight of this follower. `IFollower.caught_up` is called when all that was there
        has come."""


class IBroker(Interface):
    """Named streams, and a fan-out between nodes. Also an `IService`.

    ``startService`` raises `StartError` only for what an operator must mend (a locked file, a
    malformed address). A broker that is merely away is retried for ever, with back-off; meanwhile
    every Deferred here fails with `Unavailable` within a bounded time, and nothing is queued.
    """

    restored = Attribute(
        "bool: what the streams hold comes from a backup, and nobody has been told yet."
    )
    ready = Attribute("bool: connected, so that an append now would normally succeed.")
    exact = Attribute(
        "bool: what append confirms is stored, in the order of the calls and with none left out, "
        "and reaches the followers. Else a confirm is a hint (`chatd.brokers.read_back`)."
    )

    def restoration_told() -> None:
        """All nodes can tell by the directory that a backup was `restored`: forget it."""

    def create(stream: Stream) -> Deferred[None]:
        """Create ``stream`` unless it exists. Fires when a record appended by anyone is kept."""

    def delete(stream: Stream) -> Deferred[None]:
        """Delete ``stream`` and its records. Deleting what does not exist succeeds."""

    def append(stream: Stream, body: bytes, message_id: str, time: int) -> Deferred[None]:
        """Append one record; fires once the broker says that it is safe from a crash of any single
        process. The record itself, brought by a follower, is the proof.

        ``time`` is in milliseconds since the epoch; retention by age counts from it. Appends to
        one stream are stored in the order of the calls. Fails with `Unavailable` (it may or may
        not have been stored), `NotStored`, `NoSuchStream` or `TooLarge` (it was not).
        """

    def distrust(stream: Stream, since: float) -> Deferred[None]:
        """Records appended to ``stream`` up to ``since`` (the clock's seconds) are not there:
        append what follows another way. Fires, and never fails, when nothing more can be stored
        that was sent the old way, as far as the broker tells. One that is `exact` does nothing."""

    def follow(stream: Stream, tail: int | None, follower: IFollower) -> IFollowing:
        """Hand ``follower`` the stream from at least ``tail`` records before its end, and on.

        ``None`` means from the first record kept. Fewer than ``tail`` come if the stream has
        fewer. No call is made to ``follower`` before this method has returned.
        """

    def read(stream: Stream, start: int, stop: int) -> Deferred[Sequence[Record]]:
        """Read the records with ``start <= offset < stop``, ascending.

        A start below the oldest record kept is no error: the first offset returned tells where
        reading really began. The caller bounds the range; at most ``stop - start`` records come.
        """

    def locate(stream: Stream, time: int) -> Deferred[int]:
        """Find where to start reading for ``time`` (milliseconds): the offset of a record at or
        before the first one at or after it, never past it. ``end + 1`` if all are earlier."""

    def end(stream: Stream) -> Deferred[int]:
        """Tell the offset of the last record, as the broker (not a follower) knows it; -1 if
        there never was one."""

    def announce(event: str, room: str, body: bytes) -> None:
        """Tell other programs of an application event (JSON), best effort. Brokers without
        neighbours ignore it."""

    def broadcast(payload: bytes) -> None:
        """Send to every node's `listen`, the sender's own included; best effort, never stored."""

    def reconnect(why: str) -> None:
        """Connect anew, elsewhere if the broker has other addresses: what is broadcast does not
        reach all. Brokers without a connection ignore it."""

    def listen(handler: Callable[[bytes], None]) -> None:
        """Call ``handler`` with each payload that any node broadcasts."""
