"""Fan-out: one message in, N frames out, over WebSocket on loopback.

    python bench/fanout.py [--broker memory:] [--receivers 10,1000] [--window 1,16] [--seconds 4]
                           [--over chatd.v1,socketio,stock]

Starts ``twistd chatd``, or for ``stock`` a Socket.IO server on Node.js, pinned to processor 0 and
the load generator ``wsload.c`` (compiled on first use) pinned to processor 1. The figure is utime +
stime of the server divided by the messages delivered; every message is accounted for. ``window`` is
how many messages are under way at once; ``socketio`` is chatd, spoken to as by a Socket.IO client.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: From here Node finds what npm has installed.
MODULES = HERE.parent / ".cache" / "js" / "package.json"

EVENT = '42["message",{"room":"lobby","text":"%s"}]'
ENGINE = ["--eio", "--path", "/socket.io/?EIO=4&transport=websocket&username=u%d"]
#: What the load generator says, by what is measured.
LOADS = {
    "chatd.v1": [
        *("--proto", "chatd.v1", "--path", "/?username=u%d"),
        *("--init", '{"type":"join","room":"lobby"}'),
        *("--template", '{"type":"message","room":"lobby","text":"%s"}'),
    ],
    "socketio": [
        *ENGINE,
        *("--init", "40", "--init", '42["join",{"room":"lobby"}]', "--template", EVENT),
    ],
    "stock": [*ENGINE, "--init", "40", "--template", EVENT],
}


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def load_generator() -> Path:
    """The compiled load generator."""
    binary = HERE / "wsload"
    source = HERE / "wsload.c"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise SystemExit("fanout: a C compiler is needed")
        subprocess.run([compiler, "-O2", "-w", "-o", binary, source], check=True)
    return binary


def pinned(processor: int) -> list[str]:
    """Pin to a processor, where there is more than one."""
    several = (os.cpu_count() or 1) > 1 and shutil.which("taskset")
    return ["taskset", "-c", str(processor)] if several else []


def chatd(broker: str, over: str, port: int) -> list[str]:
    """The command of a daemon that counts nobody's rate or address."""
    twistd = Path(sys.executable).with_name("twistd")
    used, other = ("http", "websocket") if over == "socketio" else ("websocket", "http")
    options = ["--broker", broker, f"--{other}", "off", "--setup", "off", "--rate", "1000000/s"]
    options += ["--max-connections-per-address", "50000"]
    options += [f"--{used}", f"tcp:{port}:interface=127.0.0.1:backlog=4096"]
    return [str(twistd), "-n", "--pidfile=", "--logfile=log", "chatd", *options]


def start_server(broker: str, over: str, port: int, folder: str) -> subprocess.Popen[bytes]:
    """The server, when it accepts connections."""
    stock = ["node", str(HERE / "socketio_server.mjs"), str(port), str(MODULES)]
    command = stock if over == "stock" else chatd(broker, over, port)
    server = subprocess.Popen([*pinned(0), *command], cwd=folder)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if server.poll() is not None:
                raise SystemExit("fanout: the server did not start") from None
            time.sleep(0.05)
        else:
            time.sleep(1)  # the room is created just after
            return server


def run(broker: str, over: str, receivers: int, window: int, seconds: float) -> dict[str, Any]:
    """One run against a fresh server; what the load generator measured."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        server = start_server(broker, over, port, folder)
        try:
            load = [*pinned(1), str(load_generator()), "--port", str(port)]
            load += ["--n", str(receivers), "--window", str(window), "--secs", str(seconds)]
            load += [*LOADS[over], "--wait-for", '"joined"', "--settle", "1500"]
            load += ["--pids", str(server.pid)]
            result: dict[str, Any] = json.loads(subprocess.check_output(load))
            return result
        finally:
            server.terminate()
            server.wait()


def numbers(text: str) -> list[int]:
    """``1,16`` as a list."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Run all combinations and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--broker", default="memory:")
    parser.add_argument("--receivers", type=numbers, default=[10, 100, 1000])
    parser.add_argument("--window", type=numbers, default=[1, 16])
    parser.add_argument("--over", type=lambda text: text.split(","), default=["chatd.v1"])
    parser.add_argument("--seconds", type=float, default=4)
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(
        "over     receivers window  us CPU/delivery  deliveries/s  p50 ms  p99 ms  missing"
        "  KiB/connection"
    )
    for receivers, window in itertools.product(given.receivers, given.window):
        for over in given.over:
            r = run(given.broker, over, receivers, window, given.seconds)
            latency = r["lat_ms"]
            print(
                f"{over:8} {receivers:9} {window:6} {r['us_per_deliv']:16.2f}"
                f" {r['deliv_per_s']:13,} {latency['p50']:7.1f} {latency['p99']:7.1f}"
                f" {r['missing']:8} {r['kb_per_conn']:15.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
