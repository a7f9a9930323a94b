"""What fan-out is compared with: how each is started, and how the load generator talks to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import frozen

HERE = Path(__file__).resolve().parent
SERVERS = HERE / "servers"
#: Where ``make`` puts what npm brings.
MODULES = HERE.parent / ".cache" / "js" / "node_modules"
NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
WEB_STOMP = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

JOIN = '{"type":"join","room":"lobby"}'
MESSAGE = '{"type":"message","room":"lobby","text":"%s"}'
EVENT = '42["message",{"room":"lobby","text":"%s"}]'
#: A client of Engine.IO that waits for its join.
ENGINE = ["--eio", "--path", "/socket.io/?EIO=4&transport=websocket&username=u%d", "--init", "40"]
ENGINE += ["--wait-for", '"joined"', "--template", EVENT, "--settle", "1500"]

STOMP = ["--proto", "v12.stomp", "--path", "/ws", "--wait-for", "RECEIPT", "--settle", "1500"]
STOMP += ["--init", "CONNECT\\naccept-version:1.2\\nhost:/\\nlogin:guest\\npasscode:guest\\n\\n\\0"]
STOMP += ["--init", "SUBSCRIBE\\nid:0\\ndestination:/topic/room\\nack:auto\\nreceipt:r\\n\\n\\0"]
STOMP += ["--template", "SEND\\ndestination:/topic/room\\n\\n%s\\0"]


@frozen
class Peer:
    """A server of one room. ``command`` takes a port, an empty folder and the number of messages
    under way at once; ``load`` are options of the load generator."""

    name: str
    command: Callable[[int, Path, int], list[str]]
    load: Sequence[str] = ()
    installed: Callable[[], bool] = lambda: True


def compiled(source: Path) -> Path:
    """The program that ``source``, in C, is compiled to."""
    program = source.with_suffix("")
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise SystemExit(f"{source.name}: a C compiler is needed")
        subprocess.run([compiler, "-O2", "-w", "-o", program, source], check=True)
    return program


def _floor(port: int, folder: Path, window: int) -> list[str]:
    # what is under way together can only be gathered by who looks at it together
    way = "each" if window == 1 else "coalesced"
    return [str(compiled(SERVERS / "floor.c")), str(port), way]


def chatd_on(broker: str) -> tuple[Peer, Peer]:
    """chatd, counting nobody's rate or address, and spoken to in each of two ways."""

    def command(used: str, other: str) -> Callable[[int, Path, int], list[str]]:
        def of(port: int, folder: Path, window: int) -> list[str]:
            twistd = Path(sys.executable).with_name("twistd")
            options = ["--broker", broker, f"--{other}", "off", "--setup", "off"]
            options += ["--rate", "1000000/s", "--max-connections-per-address", "50000"]
            options += [f"--{used}", f"tcp:{port}:interface=127.0.0.1:backlog=4096"]
            return [str(twistd), "-n", "--pidfile=", "--logfile=log", "chatd", *options]

        return of

    v1 = ["--proto", "chatd.v1", "--path", "/?username=u%d", "--init", JOIN]
    v1 += ["--wait-for", '"joined"', "--template", MESSAGE, "--settle", "1500"]
    socketio = [*ENGINE, "--init", '42["join",{"room":"lobby"}]']
    return (
        Peer("chatd.v1", command("websocket", "http"), v1),
        Peer("socketio", command("http", "websocket"), socketio),
    )


def _nchan(port: int, folder: Path, window: int) -> list[str]:
    text = (SERVERS / "nchan.conf").read_text().replace("PORT", str(port))
    (folder / "nchan.conf").write_text(text)
    return ["nginx", "-p", str(folder), "-c", str(folder / "nchan.conf")]


def _ws(port: int, folder: Path, window: int) -> list[str]:
    return ["env", f"NODE_PATH={MODULES}", "node", str(SERVERS / "ws.cjs"), str(port)]


def _stock(port: int, folder: Path, window: int) -> list[str]:
    # Node finds what npm has installed from the folder of this file, which need not exist
    package = MODULES.parent / "package.json"
    return ["node", str(HERE / "socketio_server.mjs"), str(port), str(package)]


def _stomp(port: int, folder: Path, window: int) -> list[str]:
    return [sys.executable, str(SERVERS / "stomp.py"), str(port)]


def _echo(port: int, folder: Path, window: int) -> list[str]:
    return [sys.executable, str(SERVERS / "echo.py"), str(port)]


def _has_module(name: str) -> Callable[[], bool]:
    return lambda: shutil.which("node") is not None and (MODULES / name).is_dir()


#: The C loop, which no server in user space can be far below.
FLOOR = Peer("C loop", _floor)
#: Autobahn alone, which sends back what it gets.
ECHO = Peer("Autobahn", _echo)
#: What a user would pick instead: nchan (Debian's libnginx-mod-nchan), Node.js with ws, Socket.IO,
#: RabbitMQ's own Web STOMP.
OTHERS = (
    Peer("nchan", _nchan, installed=lambda: NCHAN.exists() and shutil.which("nginx") is not None),
    Peer("ws", _ws, installed=_has_module("ws")),
    Peer("stock", _stock, ENGINE, _has_module("socket.io")),
    Peer("stomp", _stomp, STOMP, WEB_STOMP.exists),
)


def pinned(processor: int) -> list[str]:
    """Pin to a processor, where there is more than one."""
    several = (os.cpu_count() or 1) > 1 and shutil.which("taskset")
    return ["taskset", "-c", str(processor)] if several else []
