"""A room's stream and the history that reads it; how often it asks the broker is counted."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import Stream
from chatd.protocol.messages import Message
from chatd.rooms.history import HistoryPage
from chatd.service.reading import LookedBack
from tests.support.world import World


class HistoryCase(TestCase):
    """Tests of one history."""

    def setUp(self) -> None:
        self.make()

    def make(self, **more: Any) -> None:
        self.world = World(**more)
        self.history = self.world.sites[0].history
        self.stream = self.world.stream()
        self.reads = self.offsets_read = 0
        read = self.world.broker.read

        def counting(stream: Stream, start: int, stop: int) -> Any:
            self.reads += 1
            self.offsets_read += stop - start
            return read(stream, start, stop)

        self.patch(self.world.broker, "read", counting)

    def fill(self, count: int, start: int = 0) -> None:
        self.world.store("lobby", *(f"m{n}" for n in range(start, start + count)))

    @property
    def upto(self) -> int:
        return self.world.do(self.world.broker.end(self.stream))

    def page(self, after: int, upto: int | None = None, limit: int = 128) -> HistoryPage:
        oldest = self.world.now - self.world.retention.age * 1000
        upto = self.upto if upto is None else upto
        return self.world.do(self.history.page(self.stream, after, upto, oldest, limit))

    def texts(self, page: HistoryPage) -> list[str]:
        return [m.text for m in page.messages]

    def everything(self, after: int = -1, limit: int = 128) -> list[str]:
        """All texts, page by page, GAP where one is told."""
        texts: list[str] = []
        upto = self.upto
        while after < upto:
            page = self.page(after, limit=limit)
            assert page.end > after, "no progress"
            texts += ["GAP"] * page.gap + self.texts(page)
            after = page.end
        return texts

    def last(self, n: int) -> int:
        """The offset before the last ``n`` messages."""
        return self.world.do(self.history.before_last(self.stream, n, self.upto, 0))

    def earlier(self, before: int, limit: int = 100, size: int = 1 << 20) -> LookedBack:
        """What is before an offset, and the messages there."""
        oldest = self.world.now - self.world.retention.age * 1000
        found = self.world.do(
            self.history.earlier(self.stream, before, self.upto, oldest, limit, size)
        )
        messages: list[Message] = []
        at = found.after
        while len(messages) < found.count:
            page = self.page(at, found.upto, found.count - len(messages))
            messages += page.messages
            at = page.end
        return LookedBack(messages, found.more, found.gap, None)

    def back(self, before: int, limit: int) -> list[str]:
        """All texts before an offset, read backwards page by page."""
        texts: list[str] = []
        while True:
            found = self.earlier(before, limit)
            self.assertFalse(found.gap)
            texts = [m.text for m in found.messages] + texts
            if not found.more:
                return texts
            self.assertEqual(len(found.messages), limit)
            before = found.messages[0].offset
