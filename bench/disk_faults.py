"""How long after a fault of the disk, or of the process, until a publish is acknowledged again.

Prints the median and the worst of ten, in seconds from the moment the fault is over.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.support.asking import ask
from tests.support.daemon import Daemon
from tests.support.faulty_disk import FaultyDisk

WHERE = "/rooms/lobby/messages?username=bench"


def publish(daemon: Daemon) -> bool:
    """Whether one message was acknowledged."""
    try:
        return ask(daemon.url(WHERE), {"text": "bench"})[0] == 201
    except OSError:
        return False


def until(daemon: Daemon, acknowledged: bool) -> float:
    """Publish until one is, or is not, acknowledged; the seconds that took."""
    began = time.perf_counter()
    while publish(daemon) is not acknowledged:
        time.sleep(0.01)
    return time.perf_counter() - began


def main() -> None:
    """Bring about each fault in turn, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    times = parser.parse_args().times
    disk = FaultyDisk()
    daemon = Daemon("--rate=100000/s", env=disk.env)
    path = daemon.folder / "chatd.sqlite"
    away = daemon.folder / "away"

    def fault(what: str) -> Callable[[], None]:
        def bring_about() -> None:
            disk.say(what)
            until(daemon, False)
            disk.say("")

        return bring_about

    def rename() -> None:
        path.rename(away)
        until(daemon, False)
        away.rename(path)

    def restart() -> None:
        daemon.kill()
        daemon.start()

    faults = {
        "one write fails (ENOSPC)": fault("write ENOSPC 1"),
        "one sync fails (EIO)": fault("sync EIO 1"),
        "the disk was full": fault("write ENOSPC 1000000"),
        "the disk was read-only": fault("write EROFS 1000000"),
        "a sync took 12 s": fault("sync slow 12000"),
        "the file was renamed, and back": rename,
        "killed and started (from ready)": restart,
    }
    until(daemon, True)
    for name, bring_about in faults.items():
        took = []
        for _ in range(times if "12 s" not in name else max(1, times // 3)):
            bring_about()
            took.append(until(daemon, True))
        print(f"{name:34} median {statistics.median(took):6.2f} s  worst {max(took):6.2f} s")
    daemon.close()
    disk.close()


if __name__ == "__main__":
    main()
