"""A node is told once to stop, however often that is said."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from chatd.service.signals import SIGNALS, FirstSignal
from tests.support.serving import node_of_twistd


class Reactor:
    """Runs when it is told to."""

    def __init__(self) -> None:
        self.begins: list[Callable[[], object]] = []
        self.ends: list[Callable[[], object]] = []

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        self.begins.append(call)

    def addSystemEventTrigger(self, *what: Any) -> None:
        self.ends.append(what[-1])


class SignalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.came: list[int] = []
        for number in SIGNALS:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
            signal.signal(number, lambda number, _: self.came.append(number))
        self.reactor = Reactor()
        FirstSignal(self.reactor).startService()
        for begin in self.reactor.begins:
            begin()

    def test_further_signals_change_nothing(self) -> None:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
        self.assertEqual(self.came, [signal.SIGTERM])

    def test_none_counts_once_it_stops_for_another_reason(self) -> None:
        for end in self.reactor.ends:
            end()
        signal.raise_signal(signal.SIGINT)
        self.assertEqual(self.came, [])

    def test_what_is_ignored_stays_so(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for begin in self.reactor.begins:
            begin()
        self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_IGN)

    def test_a_node_of_twistd_has_it(self) -> None:
        node = node_of_twistd()
        self.assertIsInstance(node.getServiceNamed("signals"), FirstSignal)
