"""A node is ready while its directory can be read and written: a record comes back."""

from __future__ import annotations

from unittest import mock

from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import DIRECTORY, Stream
from chatd.brokers.read_back import CONFIRM, SHOWN
from chatd.directory.readiness import AGAIN, FRESH, FRESHEST, PATIENCE, SLOWEST, Readiness
from tests.support.lying_broker import Lie, LyingBroker
from tests.support.world import World


class ReadinessTests(TestCase):
    def setUp(self) -> None:
        self.world = World(broker=LyingBroker)
        broker = self.world.broker
        assert isinstance(broker, LyingBroker)
        self.broker = broker
        self.directory = self.world.sites[0].directory
        self.readiness = Readiness(self.directory.stream, self.world.clock)

    def start(self) -> None:
        self.readiness.start()
        self.world.turn()

    def lie(self, lie: Lie) -> None:
        def said(stream: Stream, number: int, channel: int) -> Lie:
            return lie if stream == DIRECTORY else Lie.NONE

        self.broker.lie = said

    def test_ready_when_a_record_has_come_back(self) -> None:
        self.assertFalse(self.readiness.ready)
        self.start()
        self.assertTrue(self.readiness.ready)

    def test_while_the_broker_takes_no_records(self) -> None:
        """An alarm of its memory or disk: all that there is can be read."""
        why = "low on memory"
        self.readiness = Readiness(self.directory.stream, self.world.clock, lambda: why)
        self.lie(Lie.REFUSE)
        self.start()
        self.assertTrue(self.readiness.ready)
        self.world.advance(PATIENCE + SLOWEST)
        self.assertTrue(self.readiness.ready)
        why = ""
        self.assertFalse(self.readiness.ready)

    def test_when_the_broker_takes_records_again(self) -> None:
        """An alarm that ends, however long it lasted: a node that was ready is, and is not sent no
        clients meanwhile."""
        why = ""
        self.readiness = Readiness(self.directory.stream, self.world.clock, lambda: why)
        self.start()
        why = "low on disk"
        self.lie(Lie.REFUSE)
        self.readiness.doubt()
        self.world.advance(10 * SLOWEST)
        why = ""
        self.assertTrue(self.readiness.ready)
        self.world.advance(AGAIN + PATIENCE)
        self.assertFalse(self.readiness.ready)  # for it is still refused, which has been seen

    def test_not_by_a_confirm(self) -> None:
        for lie in (Lie.CONFIRM_ONLY, Lie.DROP, Lie.REFUSE):
            self.setUp()
            self.lie(lie)
            self.start()
            for _ in range(60):
                self.assertFalse(self.readiness.ready)
                self.world.advance(1)
            self.lie(Lie.NONE)
            self.world.advance(PATIENCE + SLOWEST)
            self.assertTrue(self.readiness.ready)

    def test_that_it_cannot_be_written_is_said_once(self) -> None:
        """Until it can be again."""
        with capturedLogs() as events:
            for _ in range(2):
                self.lie(Lie.CONFIRM_ONLY)
                self.start()
                self.world.advance(10 * SLOWEST)
                self.lie(Lie.NONE)
                self.world.advance(PATIENCE + SLOWEST)
                self.assertTrue(self.readiness.ready)
        said = [one for one in events if "cannot be written" in one["log_format"]]
        self.assertEqual(len(said), 2)

    def test_read_and_not_written_after_an_interruption(self) -> None:
        """The broker is back, and its streams are not."""
        self.start()
        self.broker.interrupt()
        self.assertFalse(self.readiness.ready)
        self.lie(Lie.CONFIRM_ONLY)
        self.broker.resume()
        self.world.turn()
        self.assertTrue(self.directory.loaded)
        self.assertTrue(self.directory.stream.level)
        self.assertFalse(self.readiness.ready)
        self.world.advance(PATIENCE)
        self.lie(Lie.NONE)
        self.world.advance(AGAIN + PATIENCE)
        self.assertTrue(self.readiness.ready)

    def appended_in_vain(self) -> None:
        """Append something to the directory that does not come, until that is looked for."""
        lost = len(self.broker.appended)

        def said(stream: Stream, number: int, channel: int) -> Lie:
            return Lie.DROP if number == lost else Lie.NONE

        self.broker.lie = said
        self.world.begin(self.directory.create("attic"))
        self.world.advance(CONFIRM + SHOWN)

    def test_reading_anew_is_no_reason_to_doubt(self) -> None:
        self.start()
        before = len(self.broker.appended)
        self.appended_in_vain()
        self.assertIn("attic", self.directory.stream.rooms)
        self.assertTrue(self.readiness.ready)
        self.assertEqual(len(self.broker.appended) - before, 2, "a probe, too")

    def test_an_interruption_while_the_directory_is_read_anew(self) -> None:
        self.start()
        read_back = self.directory.stream._read_back
        refresh = read_back.refresh

        def interrupted() -> None:
            refresh()
            self.broker.interrupt()

        with mock.patch.object(read_back, "refresh", interrupted):
            self.appended_in_vain()
        self.assertFalse(self.directory.stream.level)
        self.assertFalse(self.readiness.ready)
        self.lie(Lie.CONFIRM_ONLY)
        self.broker.resume()
        self.world.turn()
        self.assertTrue(self.directory.stream.level)
        self.assertFalse(self.readiness.ready, "it can be read, and perhaps not written")
        self.lie(Lie.NONE)
        self.world.advance(AGAIN + PATIENCE)
        self.assertTrue(self.readiness.ready)

    def test_what_stops_without_a_word_is_noticed_by_who_asks(self) -> None:
        self.start()
        self.lie(Lie.DROP)
        self.world.advance(FRESH)
        self.assertTrue(self.readiness.ready, "the last word, while it is being asked")
        self.world.advance(PATIENCE + 1)
        self.assertFalse(self.readiness.ready)

    def test_trouble_elsewhere_is_a_reason_to_look(self) -> None:
        self.start()
        self.lie(Lie.DROP)
        self.readiness.doubt()
        self.world.advance(PATIENCE + 1)
        self.assertFalse(self.readiness.ready)

    def test_the_directory_is_not_filled_with_probes(self) -> None:
        self.start()
        for _ in range(24 * 60):
            self.world.clock.advance(60)
            self.assertTrue(self.readiness.ready)
        self.world.turn()
        self.assertLess(len(self.broker.appended), 24 * 3600 / FRESHEST + 20)

    def test_nor_while_nobody_asks(self) -> None:
        self.start()
        before = len(self.broker.appended)
        self.world.advance(3600)
        self.assertEqual(len(self.broker.appended), before)

    def test_a_stream_that_cannot_be_written_is_not_tried_all_the_time(self) -> None:
        self.lie(Lie.REFUSE)
        self.start()
        before = len(self.broker.appended)
        self.world.advance(600)
        self.assertLess(len(self.broker.appended) - before, 100)
