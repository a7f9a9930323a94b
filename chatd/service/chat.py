"""What a client may ask of a node, on any transport. The right to a room is checked here."""

from __future__ import annotations

from collections.abc import Hashable

from attrs import Factory, define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from chatd.access.identity import Identity
from chatd.access.rights import check_entry, may_enter
from chatd.brokers.interfaces import NoSuchStream, Unavailable
from chatd.directory.directory import Directory
from chatd.directory.projection import RoomEntry
from chatd.directory.unavailable import unavailable
from chatd.presence.board import PresenceBoard
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.messages import Message
from chatd.protocol.publication import Publication
from chatd.rooms.late_copies import LateCopies
from chatd.rooms.look_back import look_back
from chatd.rooms.registry import RoomRegistry
from chatd.rooms.repeats import Repeats
from chatd.rooms.room import Room
from chatd.rooms.start_position import After, Now, Start, StartPosition, find
from chatd.service.outcomes import Receipt, before_storing, not_stored, receipt
from chatd.service.reading import ANSWER_BYTES, FIRST_BYTES, Answer, LookedBack, Reading
from chatd.timing.gathering import Gathering


@define(eq=False)
class Chat:
    """Rooms, messages and presence of one node, for transports. ``max_text`` is in bytes."""

    clock: IReactorTime
    directory: Directory
    rooms: RoomRegistry
    presence: PresenceBoard
    max_text: int = 16 * 1024
    draining: bool = False
    #: Requests about rooms that are under way or wait, such as joins whose answers are not read.
    waiting: int = field(default=0, init=False)
    _repeats: Repeats = field(
        init=False, default=Factory(lambda self: Repeats(self.clock), takes_self=True)
    )
    _late: LateCopies = field(
        init=False, default=Factory(lambda self: LateCopies(self.clock), takes_self=True)
    )

    @property
    def answers(self) -> Gathering:
        """What is open while several publishes are acknowledged, one after the other."""
        return self.rooms.node.answers

    def check_draining(self) -> None:
        """Raise `ChatError` unavailable while the node drains."""
        if self.draining:
            raise going_down()

    # -- rights ------------------------------------------------------------------------------------

    def entry(self, identity: Identity, name: str) -> RoomEntry:
        """The room called ``name``. Raises `ChatError` unknown_room, or forbidden if ``identity``
        may not enter it, or unavailable while that is not known any more (`DirectorySync`)."""
        entry = self.directory.get(name)
        if not self.directory.sync.current:
            raise unavailable().about(name)
        check_entry(identity, entry)
        return entry

    def enterable(self, identity: Identity, name: str) -> RoomEntry | None:
        """As `entry`, None where that raises."""
        directory = self.directory
        known = directory.loaded and directory.sync.current
        entry = directory.find(name) if known else None
        return entry if entry is not None and may_enter(identity, entry) else None

    async def admit(self, identity: Identity, name: str) -> RoomEntry:
        """As `entry`; but nobody is refused for what another node has just changed. Raises also
        `ChatError` unavailable: it is not known whether there is such a room, or such a right."""
        try:
            return await self.entry_now(identity, name)
        except ChatError as e:
            if e.code is Code.UNAVAILABLE:
                raise
        try:
            await self.directory.sync.reach()
        except ChatError as e:
            raise e.about(name) from None
        return self.entry(identity, name)

    async def entry_now(self, identity: Identity, name: str) -> RoomEntry:
        """As `entry`, once this node has heard of what others did while it stood still."""
        if self.directory.loaded:
            try:
                await self.directory.sync.catch_up()
            except ChatError as e:
                raise e.about(name) from None
        return self.entry(identity, name)

    async def room(self, identity: Identity, name: str) -> Room:
        """The room called ``name``, attached. Raises as `entry`, or `ChatError` unavailable."""
        entry = await self.admit(identity, name)
        room = self.rooms.get(entry)
        if room is None:
            room = await self.rooms.open(entry)
            await self.entry_now(identity, name)  # again: the room or the right may be gone by now
        return room

    async def room_to_read(self, identity: Identity, name: str) -> Room:
        """As `room`, for who only reads, or has others wait until this is done: of those who had to
        wait until it was attached, a few go on in each turn of the reactor."""
        if self.rooms.get(await self.admit(identity, name)) is None:
            await self.room(identity, name)
            await self.rooms.node.turns.wait()
        return await self.room(identity, name)

    def unreadable(self, identity: Identity, name: str, error: Unavailable) -> ChatError:
        """The error for reading from the room ``name``, which failed with ``error``: as of `entry`
        if the room or the right is gone by now, else unavailable."""
        try:
            self.entry(identity, name)
        except ChatError as gone:
            return gone
        return unavailable(error)

    # -- publishing --------------------------------------------------------------------------------

    def publication(
        self,
        identity: Identity,
        room: str,
        text: object,
        data: object = None,
        id: object = None,
        after: object = None,
    ) -> Publication:
        """Check what ``identity`` sent to ``room``; see `Publication.parse`. The first copy of what
        was sent again is looked for as the repeat was."""
        user, most = identity.user, self.max_text
        found = Publication.parse(room, user, text, data, id, after, max_text=most)
        if found.after is not None or found.content.fresh:
            return found
        repeated = self._late.after(room, user, found.content.id)
        return found if repeated is None else evolve(found, after=repeated)

    def publish(
        self,
        identity: Identity,
        publication: Publication,
        sender: Hashable | None = None,
        entry: RoomEntry | None = None,
    ) -> Deferred[Receipt]:
        """Publish a message, which `repeated` has not found if it was sent before; it is stored
        when this fires. What one ``sender`` publishes to a room is stored in the order of the
        calls. ``entry`` is the room, if `enterable` was just asked.

        Fails with `ChatError`; unavailable names the message's id, and says if nothing was stored.
        """
        entry = entry or self.enterable(identity, publication.room)
        room = self.rooms.get(entry) if entry is not None else None
        if room is None:
            stored = Deferred.fromCoroutine(self._attach_and_publish(identity, publication, sender))
        else:
            stored = room.publish(publication.content, sender)
        told = (publication,)
        return stored.addCallbacks(receipt, not_stored, told, errbackArgs=told)

    async def _attach_and_publish(
        self, identity: Identity, publication: Publication, sender: Hashable | None
    ) -> bool:
        """As `Room.publish`, where the room is to be attached first."""
        try:
            room = await self.room(identity, publication.room)
        except ChatError as e:
            raise before_storing(e, publication) from None
        return await room.publish(publication.content, sender)

    async def admit_publication(self, identity: Identity, publication: Publication) -> None:
        """As `admit`, for `publish`."""
        try:
            await self.admit(identity, publication.room)
        except ChatError as e:
            raise before_storing(e, publication) from None

    async def repeated(
        self, identity: Identity, publication: Publication, came: float | None = None
    ) -> Receipt | None:
        """The receipt for a message sent again that is stored already, among what came after the
        cursor in ``publication``; None if it is not stored, or has no such cursor. ``came`` is as
        in `Repeats.stored`.

        Raises as `publish`; but unavailable says nothing of whether the message is stored, which
        it may be since it was first sent.
        """
        if publication.after is None:
            return None
        name, id = publication.room, publication.content.id
        try:
            room = await self.room(identity, name)
            self._late.repeated(name, publication.content.user, id, publication.after)
            found = await self._repeats.stored(
                room, publication.content, publication.after, identity.network, came
            )
        except (Unavailable, NoSuchStream) as e:
            raise unavailable(Unavailable(str(e))).about(name, id) from None
        except ChatError as e:
            raise e.about(name, id) from None
        return Receipt(id, new=False) if found else None

    # -- reading -----------------------------------------------------------------------------------

    async def poll(
        self, identity: Identity, name: str, start: Start, limit: int, wait: float
    ) -> Answer:
        """The messages from ``start`` on, at most ``limit``. If there are none, waits up to
        ``wait`` seconds for the next. Raises `ChatError`."""
        room = await self.room_to_read(identity, name)
        try:
            answer = await self._poll(identity, room, start, limit, self.clock.seconds() + wait)
        except Unavailable as e:
            raise self.unreadable(identity, name, e) from None
        if answer.gap:
            room.node.metrics.gaps.inc()
        return answer

    async def look_back(
        self, identity: Identity, name: str, cursor: Cursor, limit: int
    ) -> LookedBack:
        """The newest messages before ``cursor``, at most ``limit``, in order. Raises
        `ChatError`."""
        room = await self.room_to_read(identity, name)
        try:
            found = await look_back(room, cursor, limit, ANSWER_BYTES, identity.network)
            place = StartPosition(found.after)
            answer = await self._gather(identity, room, place, found.count, found.upto)
        except Unavailable as e:
            raise self.unreadable(identity, name, e) from None
        await self.entry_now(identity, name)  # again: the room or the right may be gone by now
        got, end = len(answer.messages), answer.cursor.offset
        if answer.rest is None and got < found.count and end < found.upto:
            # the newest are missing: who looks back from the first would never get them
            raise unavailable(Unavailable("some of it is just being removed"))
        gap = found.gap or (answer.gap and not answer.messages)
        return LookedBack(answer.messages, found.more, gap, answer.rest)

    async def _poll(
        self, identity: Identity, room: Room, start: Start, limit: int, until: float
    ) -> Answer:
        place = await find(room, start, identity.network)
        stream = room.stream
        if isinstance(start, Now):
            return Answer((), Cursor(stream.life, place.offset), gap=False)
        while True:
            answer = await self._gather(identity, room, place, limit, room.head)
            left = until - self.clock.seconds()
            if answer.messages or answer.gap or not limit or self.draining or left <= 0:
                return answer
            if room.stream == stream:
                await room.waiting.wait().addTimeout(left, self.clock, lambda *_: None)
            if (await self.entry_now(identity, stream.room)).stream != stream:
                # a new life of the room, which is read from its start, after a gap
                old = After(Cursor(stream.life, place.offset))
                room = await self.room(identity, stream.room)  # it has to be attached again
                return await self._poll(identity, room, old, limit, 0)

    async def _gather(
        self, identity: Identity, room: Room, place: StartPosition, limit: int, upto: int
    ) -> Answer:
        """The messages after ``place`` up to the offset ``upto`` now, at most ``limit``. The cursor
        moves only with messages, or over a gap. A gap between messages ends the answer: the next
        one begins with it."""
        name, stream = room.stream.room, room.stream
        messages: list[Message] = []
        gap, end, size = place.gap, place.offset, 0
        while len(messages) < limit and size < FIRST_BYTES and end < upto:
            page = await room.page(end, limit - len(messages), identity.network)
            if messages and page.gap:
                return Answer(messages, Cursor(stream.life, end), gap)
            found = page.upto(upto)
            messages += found
            gap = gap or page.gap
            size += sum(len(m.json) for m in found)
            end = min(page.end, upto)
            if room.stream != stream:
                break
        cursor = Cursor(stream.life, end if messages or gap else place.offset)
        left = limit - len(messages) if end < upto and room.stream == stream else 0
        if not left:
            return Answer(messages, cursor, gap)
        rest = Reading(lambda: self.room(identity, name), stream, end, upto, left, identity.network)
        return Answer(messages, cursor, gap, rest)


def going_down() -> ChatError:
    """The error for a request that comes while the node drains."""
    return ChatError(Code.UNAVAILABLE, "This server is going down; try again.", retry=1)
