"""A new kind of broker is its folder and a word in the registry."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers import registry
from chatd.brokers.interfaces import Retention
from chatd.brokers.kinds import Kind
from chatd.brokers.memory.broker import MemoryBroker
from chatd.config import preflight
from chatd.config.options import Options
from chatd.errors import StartError
from chatd.tap import ChatService
from chatd.timing.wall import WallClock


class FourthBrokerTests(SynchronousTestCase):
    """A kind that is registered is checked, looked at before the start, and made."""

    def setUp(self) -> None:
        self.made: list[tuple[str, Retention]] = []
        self.patch(
            registry,
            "KINDS",
            (
                *registry.KINDS,
                Kind(
                    ("toy", "toys"),
                    "toy:COLOUR",
                    self._check,
                    self._make,
                    self._look,
                    self._preflight,
                ),
            ),
        )

    def _check(self, address: str) -> None:
        if not address.partition(":")[2]:
            raise ValueError("toy: needs a colour")

    def _make(
        self, reactor: Any, wall: WallClock, address: str, retention: Retention
    ) -> MemoryBroker:
        self.made.append((address, retention))
        return MemoryBroker(reactor, retention, wall=wall)

    async def _look(self, reactor: Any, address: str) -> str:
        return address

    def _preflight(self, address: str) -> None:
        if address == "toy:broken":
            raise StartError("the toy is broken")

    def options(self, address: str) -> Options:
        options = Options({})
        ports = ("--http", "off", "--websocket", "off", "--setup", "off")
        options.parseOptions(["--broker", address, *ports])
        return options

    def test_it_is_made(self) -> None:
        from twisted.internet import reactor

        service = ChatService(reactor, self.options("toys:red").config)
        self.assertIsInstance(service.broker, MemoryBroker)
        self.assertEqual(self.made, [("toys:red", Retention())])

    def test_its_address_is_checked(self) -> None:
        refused = self.assertRaises(SystemExit, self.options, "toy:")
        self.assertEqual(str(refused), "chatd: --broker: toy: needs a colour")

    def test_it_is_looked_at_before_the_start(self) -> None:
        self.assertRaises(StartError, preflight.check, self.options("toy:broken").config)

    def test_help_and_errors_name_it(self) -> None:
        self.assertIn("toy:COLOUR", registry.usage())
        refused = self.assertRaises(SystemExit, self.options, "sqlit:x")
        self.assertIn("toy:COLOUR", str(refused))
