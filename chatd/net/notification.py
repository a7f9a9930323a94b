"""What the service manager that started this process is told (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from attrs import frozen


@frozen
class ServiceManager:
    """A service manager; ``address`` is its Unix socket, none where nobody asked to be told.
    ``watchdog`` is the seconds of silence after which it restarts us, 0 for never."""

    address: str = ""
    watchdog: float = 0.0

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int | None = None) -> ServiceManager:
        """What ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` say to process ``pid``,
        by default this one. What is no address or number counts as not given."""
        address = environ.get("NOTIFY_SOCKET", "")
        ours = environ.get("WATCHDOG_PID", "") in ("", str(pid or os.getpid()))
        period = environ.get("WATCHDOG_USEC", "") if ours else ""
        seconds = int(period) / 1e6 if period.isascii() and period.isdigit() else 0.0
        return cls(address if address[:1] in ("/", "@") else "", seconds)

    def tell(self, **told: str) -> None:
        """Send assignments such as ``READY="1"``. Nobody is waited for: a manager that does not
        listen misses it."""
        if not self.address:
            return
        lines = "\n".join(f"{name}={' '.join(value.split())}" for name, value in told.items())
        # an address that begins with @ is in the abstract namespace (unix(7))
        address = "\0" + self.address[1:] if self.address[0] == "@" else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            sending.sendto(lines.encode("utf-8", "replace"), address)
