"""Usual polls, from the request to the answer: a small object that waits, and no more.

What is done and asked is what `chatd.transports.http.router` and `held_poll` do for every other
request, in the same order. What cannot be answered at once by the room's cache, now or when there
is news, and every refusal, is twisted.web's: it gets the request as if it came then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, ClassVar

from attrs import define, field
from prometheus_client import Counter
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.access.admission import Admission
from chatd.access.standing import Held
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError
from chatd.rooms.room import Room
from chatd.service.at_hand import at_hand
from chatd.service.chat import Chat
from chatd.service.reading import Answer
from chatd.telemetry.access_log import HUNG_UP, Access
from chatd.telemetry.metrics import Metrics
from chatd.telemetry.tracing import request_id, trace_of
from chatd.timing.timer_wheel import Deadline, TimerWheel
from chatd.transports.http.answer import PIECE
from chatd.transports.http.body import Body
from chatd.transports.http.call import JSON
from chatd.transports.http.messages import page
from chatd.transports.http.poll_presence import Pollers
from chatd.transports.http.response_headers import common_headers, success
from chatd.transports.http.usual_poll import UsualPoll, judge

#: How late the end of a poll's wait may be noticed, in seconds.
LATE = 0.05
#: Answers that are kept for those who wait for the same.
ANSWERS = 8
#: Bytes of messages in an answer, at most; more is written in pieces.
MOST = PIECE - 1024


class UsualPolls:
    """The usual polls of one node, for `chatd.transports.http.poll_connection`."""

    def __init__(
        self, chat: Chat, admission: Admission, metrics: Metrics, pollers: Pollers
    ) -> None:
        self.chat = chat
        self.admission = admission
        self.pollers = pollers
        self.deadlines = TimerWheel(admission.clock, LATE)
        self._metrics = metrics
        #: How many wait.
        self.in_hand = 0

    @cached_property
    def _answered(self) -> Counter:
        return self._metrics.requests.labels("200")

    @property
    def leaving(self) -> int:
        """See `chatd.service.lifecycle.Draining`: whoever waits will be answered."""
        return self.in_hand

    def drain(self, others: int) -> None:
        """Nothing: whoever waits is woken."""

    def take(self, connection: Any, data: bytes) -> bool:
        """Answer ``data``, which came on ``connection``, or have it wait for its answer. False,
        with nothing done, if it is not a usual poll, or not to be answered with messages."""
        usual: UsualPoll | None = connection.usual
        cursor = usual.cursor(data, self.admission) if usual is not None else None
        if usual is None or cursor is None:
            usual = connection.usual = self._judge(connection, data)
            if usual is None:
                return False
            cursor = usual.cursor(data, self.admission)
        if cursor is None or self.chat.draining or connection.too_many is not None:
            return False
        return WaitingPoll(self, connection, usual, cursor).begin()

    def _judge(self, connection: Any, data: bytes) -> UsualPoll | None:
        peer = getattr(connection.getPeer(), "host", None)
        return judge(data, peer, connection.isSecure(), self.admission)

    def answered(self, usual: UsualPoll, size: int, began: float) -> None:
        """A poll that began at ``began`` was answered with a body of ``size`` bytes."""
        self._answered.inc()
        self.log(usual, 200, size, began)

    def log(self, usual: UsualPoll, status: int, size: int, began: float) -> None:
        """Log a poll that began at ``began``."""
        admission = self.admission
        if admission.access_log is not None:
            what, id = f"GET {usual.what} HTTP/1.1", request_id(trace_of(None))
            seconds = admission.clock.seconds() - began
            user, address = usual.identity.user, usual.address
            admission.access_log.write(Access(address, user, what, status, size, seconds, "", id))


@define(eq=False)
class WaitingPoll:
    """One poll, from its request to its answer. Its connection has it in the place of a request of
    twisted.web's, so it has what `HTTPConnection` asks of those."""

    _polls: UsualPolls
    _connection: Any
    _usual: UsualPoll
    _cursor: Cursor
    _room: Room | None = field(default=None, init=False)
    _began: float = field(default=0.0, init=False)
    _due: Deadline | None = field(default=None, init=False)
    _held: Held | None = field(default=None, init=False)
    #: What it is counted as: a request, and a connection that is held open.
    _counted: tuple[Callable[[], None], ...] = field(default=(), init=False)
    #: Its answer is written when it is done.
    startedWriting: ClassVar = 0
    finished: ClassVar = 0
    #: There is none.
    body: ClassVar = Body(0)
    _log: ClassVar = Logger()

    def begin(self) -> bool:
        """See `UsualPolls.take`."""
        try:
            answer = self._look()
        except ChatError:
            return False
        line = self._connection.line
        if answer is None:
            return False
        if not line.at_once(self._usual.address):
            self._taken()
            line.queued().addCallbacks(self._turn, lambda _: None)
            return True
        if not self._admitted():
            return False
        self._taken()
        self._proceed(answer, bool(answer.messages))
        return True

    def _taken(self) -> None:
        """It goes past twisted.web."""
        self._began = self._polls.admission.clock.seconds()
        self._polls.in_hand += 1
        self._connection.begin(self)

    def _turn(self, _: None) -> None:
        """Its turn has come, for which it had to wait."""
        if self._admitted():
            self._go_on(self._polls.chat.draining)
        else:
            self._hand_back()

    def _admitted(self) -> bool:
        """Whether it may be answered; a named poller is present from now on."""
        admission, address = self._polls.admission, self._usual.address
        try:
            self._counted = (admission.requests.admit(address),)
            self._counted += (admission.connections.admit(address),)
            self._seen()
        except ChatError:
            self._uncount()
            self._connection.line.give_back()  # to twisted.web
            return False
        return True

    def _look(self) -> Answer | None:
        """What there is, none for what takes more than a look. Raises `ChatError` if its room, or
        the right to it, is gone."""
        chat, usual = self._polls.chat, self._usual
        entry = chat.entry(usual.identity, usual.name)
        room = self._room = self._room or chat.rooms.get(entry)
        if room is None or room.stream != entry.stream:
            return None
        answer = at_hand(room, self._cursor, usual.limit)
        if answer is None or sum(len(message.json) for message in answer.messages) > MOST:
            return None
        return answer

    def _seen(self) -> None:
        usual = self._usual
        if usual.identity.user:
            self._polls.pollers.seen(usual.identity, usual.name, usual.address)

    def _listen(self) -> None:
        polls, usual = self._polls, self._usual
        if self._due is None:
            self._due = polls.deadlines.after(usual.wait, self._late)
            if usual.identity.expires is not None:
                self._held = polls.admission.standing.hold(usual.identity, self._withdrawn)
        if self._room is not None:
            self._room.waiting.join(self)

    # -- what ends it ------------------------------------------------------------------------------

    def callback(self, _: None) -> None:
        """There is news in the room: messages, other rights, or the node goes down."""
        self._go_on(self._polls.chat.draining)

    def _late(self) -> None:
        self._go_on(True)

    def _go_on(self, whatever: bool) -> None:
        """Answer if there are messages, or ``whatever`` there is; else go on waiting."""
        try:
            answer = self._look()
            done = answer is not None and (whatever or bool(answer.messages))
            if done:
                self._seen()
        except ChatError:
            answer = None
        except Exception:
            self._log.failure("A poll failed; it begins anew.")
            answer = None
        if answer is None:
            self._hand_back()
        else:
            self._proceed(answer, done)

    def _proceed(self, answer: Answer, done: bool) -> None:
        if done:
            self._answer(answer)
        else:
            self._listen()

    def _answer(self, answer: Answer) -> None:
        usual, polls = self._usual, self._polls
        self._release()
        body = page(usual.name, tuple(answer.messages), answer.cursor, answer.gap)
        polls.answered(usual, len(body), self._began)
        now = int(polls.admission.rights.wall.read())
        more = usual.cors
        if polls.chat.draining:  # its next request is for another node
            self._connection.persistent = False
            more += (("Connection", "close"),)
        self._connection.answered(self, _whole(body, more, now))

    def _withdrawn(self, why: ChatError) -> None:
        self._hand_back()

    def _hand_back(self) -> None:
        """Have twisted.web answer."""
        self._release()
        head = self._usual.head(str(self._cursor).encode("ascii"))
        self._connection.hand_back(self, head, self._began)

    def client_ended(self) -> None:
        """The client has closed its side; it may still read the answer."""

    def cut_off(self) -> None:
        """The connection ends before there was an answer."""
        self._polls.log(self._usual, HUNG_UP, 0, self._began)

    def connectionLost(self, reason: Failure) -> None:
        """The client has hung up."""
        self._release()

    def _release(self) -> None:
        """It does not wait any more, and is not counted."""
        if self._room is not None:
            self._room.waiting.leave(self)
        if self._due is not None:
            self._due.cancel()
        if self._held is not None:
            self._held.release()
        self._uncount()
        self._polls.in_hand -= 1

    def _uncount(self) -> None:
        for release in self._counted:
            release()


@lru_cache(maxsize=ANSWERS)
def _whole(body: bytes, more: tuple[tuple[str, str], ...], seconds: int) -> bytes:
    """The bytes of an answer with ``more`` headers, at the time of day ``seconds``."""
    return success({**common_headers(JSON, seconds), **dict(more)}, body)
