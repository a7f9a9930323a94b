"""What systemd is told: sd_notify(3) on a real Unix socket, by a turned clock."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chatd.net.notification import ServiceManager
from chatd.service.supervision import LOOK, PATIENCE, Supervision
from chatd.timing.clock import NodeClock


class Manager:
    """The other end of ``NOTIFY_SOCKET``."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def told(self) -> list[str]:
        """The lines that came since the last call."""
        lines: list[str] = []
        while True:
            try:
                lines += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return lines

    def close(self) -> None:
        self._socket.close()


class SupervisionTests(TestCase):
    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="chatd-test-")
        self.address = str(Path(self.folder) / "notify")
        self.manager = Manager(self.address)
        self.clock = Clock()
        self.ready = False
        self.status = "waiting"

    def tearDown(self) -> None:
        self.manager.close()
        os.unlink(self.address)
        os.rmdir(self.folder)

    def start(self, **environ: str) -> Supervision:
        manager = ServiceManager.of({"NOTIFY_SOCKET": self.address, **environ})
        clock = NodeClock(self.clock)
        supervision = Supervision(clock, manager, lambda: self.ready, lambda: self.status)
        supervision.startService()
        return supervision

    def pass_time(self, seconds: float) -> list[str]:
        self.clock.pump([LOOK] * round(seconds / LOOK))
        return self.manager.told()

    def test_ready_when_it_can_serve(self) -> None:
        self.start()
        self.assertEqual(self.manager.told(), ["STATUS=waiting"])
        self.assertEqual(self.pass_time(5), [])
        self.ready, self.status = True, "serving"
        self.assertEqual(self.pass_time(2), ["READY=1", "STATUS=serving"])
        self.ready, self.status = False, "away"
        self.assertEqual(self.pass_time(2), ["STATUS=away"])

    def test_an_outage_of_the_broker_does_not_hold_up_a_boot(self) -> None:
        self.start()
        self.assertNotIn("READY=1", self.pass_time(PATIENCE - 1))
        self.assertEqual(self.pass_time(2), ["READY=1"])

    def test_the_watchdog_is_fed_in_time(self) -> None:
        self.start(WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
        self.manager.told()
        self.assertEqual(self.pass_time(20).count("WATCHDOG=1"), 2)

    def test_a_watchdog_of_another_process_or_none(self) -> None:
        for other in ({"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}):
            self.start(**{"WATCHDOG_USEC": "3000000", **other}).stopService()
            self.assertNotIn("WATCHDOG=1", self.manager.told())

    def test_going_down(self) -> None:
        supervision = self.start()
        self.manager.told()
        self.status = "going\ndown"
        supervision.going_down()
        self.assertEqual(self.manager.told(), ["STOPPING=1", "STATUS=going down"])
        supervision.stopService()
        self.assertEqual(self.pass_time(5), [])

    def test_an_abstract_address(self) -> None:
        name = f"@chatd-test-{os.getpid()}"
        manager = Manager(name)
        self.addCleanup(manager.close)
        ServiceManager(name).tell(READY="1")
        self.assertEqual(manager.told(), ["READY=1"])

    def test_nobody_to_tell(self) -> None:
        """No socket, one that is gone, and an address of a kind that is not known."""
        self.start(NOTIFY_SOCKET="").going_down()
        ServiceManager("/nowhere/at/all").tell(READY="1")
        self.assertEqual(ServiceManager.of({"NOTIFY_SOCKET": "vsock:2:1234"}), ServiceManager())
        self.assertEqual(self.clock.getDelayedCalls(), [])
