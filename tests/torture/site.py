"""What is tortured: chatd nodes in processes of their own, and the broker beneath them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from attrs import define, field, frozen

from tests.support.cluster import Cluster
from tests.support.daemon import Daemon, DaemonError
from tests.support.faulty_disk import FaultyDisk
from tests.support.proxy import Relay
from tests.support.rabbit import Node as RabbitNode
from tests.support.time_of_day import TimeOfDay
from tests.torture.tokens import Tokens

_open = build_opener(ProxyHandler({})).open
#: Seconds within which all must serve again when nothing is broken any more.
HEAL = 120.0
OPTIONS = ("--max-connections-per-address", "10000")
RATE = "10000/s"


@frozen
class Plan:
    """What a site is made of. ``broker``: ``sqlite`` (one node), ``rabbitmq`` (one broker) or
    ``cluster`` (a broker of three). ``faulty``: disks and connections can be spoilt; ``clocks``:
    the time of day can be set. ``tokens``: users show tokens. ``retain``: seconds."""

    broker: str = "sqlite"
    nodes: int = 2
    rooms: Sequence[str] = ()
    faulty: bool = False
    clocks: bool = False
    tokens: bool = False
    retain: int | None = None


@define(eq=False)
class ChatNode:
    """A chatd process that may be killed, frozen, and started again, and what can be spoilt
    beneath it."""

    name: str
    daemon: Daemon
    tokens: Tokens | None = None
    relays: list[Relay] = field(factory=list)
    time: TimeOfDay | None = None
    disk: FaultyDisk | None = None
    running: bool = True
    frozen: bool = False

    def url(self, path: str = "/") -> str:
        """See `tests.torture.clients.Node`."""
        return self.daemon.url(path)

    def who(self, user: str) -> str:
        """See `tests.torture.clients.Node`."""
        if self.tokens is not None:
            return f"token={self.tokens.token(user)}"
        return f"username={quote(user, safe='')}"

    def text(self, path: str) -> str:
        """What a GET answers. OSError for any status but 2xx."""
        with _open(self.url(path), timeout=20) as answer:
            said: bytes = answer.read()
        return said.decode()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the node; the JSON of its answer. OSError for any status but 2xx."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url(path), data, {"Content-Type": "application/json"}, method=method)
        with _open(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def set_up(self, **request: Any) -> str:
        """What the set-up port answers to a request."""
        with socket.create_connection(self.daemon.setup, 20) as port:
            port.settimeout(20)
            port.sendall(json.dumps(request).encode() + b"\n")
            return port.recv(1000).decode()

    def close(self) -> None:
        """End it, and all that lies beneath it."""
        self.daemon.close()
        for one in (*self.relays, self.time, self.disk):
            if one is not None:
                one.close()


@define(eq=False)
class Site:
    """All processes of one kind of broker. ``rabbits`` is empty for SQLite."""

    nodes: list[ChatNode]
    rabbits: list[RabbitNode]
    close_broker: Callable[[], None]
    tokens: Tokens | None = None
    retain: int | None = None
    #: Members of private rooms.
    members: dict[str, list[str]] = field(factory=dict)
    _folder: tempfile.TemporaryDirectory[str] = field(
        factory=lambda: tempfile.TemporaryDirectory(prefix="chatd-test-")
    )

    @classmethod
    def make(cls, plan: Plan) -> Site:
        """Start all processes."""
        if plan.broker == "sqlite":
            site = cls([], [], lambda: None)
        elif plan.broker == "rabbitmq":
            single = RabbitNode().start()
            site = cls([], [single], single.close)
        else:
            cluster = Cluster(3).start()
            site = cls([], cluster.nodes, cluster.close)
        site.configure(RATE)
        site.tokens = Tokens() if plan.tokens else None
        site.retain = plan.retain
        try:
            for number in range(plan.nodes if site.rabbits else 1):
                site.nodes.append(site._node(f"node-{number}", plan))
        except BaseException:
            site.close()
            raise
        return site

    def _node(self, name: str, plan: Plan) -> ChatNode:
        options = [*OPTIONS, "--config", str(self._configuration)]
        options += [word for room in plan.rooms for word in ("--room", room)]
        options += self.tokens.options if self.tokens is not None else ()
        options += [] if plan.retain is None else ["--retain", f"{plan.retain}s"]
        relays, clock, disk, broker = list[Relay](), None, None, None
        ports = [rabbit.port for rabbit in self.rabbits]
        if plan.faulty:
            relays = [Relay(("127.0.0.1", port)) for port in ports]
            ports = [relay.port for relay in relays]
            disk = None if self.rabbits else FaultyDisk()
        if plan.clocks:
            clock = TimeOfDay()
        if ports:
            hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
            broker = f"amqp://guest:guest@{hosts}/%2F?heartbeat=4"
        env = _together(*(one.env for one in (clock, disk) if one is not None))
        daemon = Daemon(*options, broker=broker, env=env)
        return ChatNode(name, daemon, self.tokens, relays, clock, disk)

    # -- administration ----------------------------------------------------------------------------

    def set_up(self, **request: Any) -> None:
        """Have a node do what is asked of the set-up port. RuntimeError if none does in time."""
        deadline = time.monotonic() + HEAL / 2
        said = "nobody was asked"
        while time.monotonic() < deadline:
            for node in self.nodes:
                with contextlib.suppress(OSError):
                    said = node.set_up(**request)
                    if said.startswith("200"):
                        return
            time.sleep(0.2)
        raise RuntimeError(f"{request}: {said}")

    def make_room(self, room: str) -> None:
        """Make a room, with its members if it has some."""
        members = self.members.get(room, ())
        self.set_up(op="create_room", roomname=room, **({"private": True} if members else {}))
        for member in members:
            self.set_up(op="add_member", roomname=room, username=member)

    @property
    def _configuration(self) -> Path:
        return Path(self._folder.name) / "chatd.toml"

    def configure(self, rate: str) -> None:
        """Write the configuration of all nodes; ``rate`` is that of publishing."""
        self._configuration.write_text(f'rate = "{rate}"\n')

    def hang_up(self, nodes: Sequence[ChatNode]) -> None:
        """Tell nodes to read their configuration and keys again."""
        for node in nodes:
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(node.daemon.pid, signal.SIGHUP)

    def leader(self, room: str) -> RabbitNode | None:
        """The RabbitMQ node that leads the stream of ``room``; None if it cannot be told."""
        expression = (
            "[begin {resource, _, queue, N} = amqqueue:get_name(Q), {N, amqqueue:get_pid(Q)} end"
            " || Q <- rabbit_amqqueue:list(), amqqueue:get_type(Q) =:= rabbit_stream_queue]"
        )
        for rabbit in self.rabbits:
            with contextlib.suppress(RuntimeError, OSError):
                told = rabbit.eval(
                    f"[node(P) || {{N, P}} <- {expression}, is_pid(P),"
                    f' binary:match(N, <<"chatd.room.{room}.">>) =/= nomatch]'
                )
                return next((one for one in self.rabbits if one.name in told), None)
        return None

    def heal(self) -> None:
        """Let everything run again, and return when every node is ready."""
        deadline = time.monotonic() + HEAL
        for rabbit in self.rabbits:
            if rabbit.process is None or rabbit.process.poll() is not None:
                rabbit.start(wait=False)
            rabbit.thaw()
        for rabbit in self.rabbits:
            _serving(rabbit, deadline)
        for node in self.nodes:
            for relay in node.relays:
                relay.mend()
            if not node.running:
                node.daemon.start()
                node.running = True
        for node in self.nodes:
            while not self.is_ready(node):
                if time.monotonic() > deadline:
                    raise DaemonError(f"{node.name} is not ready:\n{node.daemon.log()[-4000:]}")
                time.sleep(0.1)

    def is_ready(self, node: ChatNode) -> bool:
        """What ``/readyz`` says."""
        try:
            with _open(node.url("/readyz"), timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def close(self) -> None:
        """End all processes."""
        for node in self.nodes:
            node.close()
        self.close_broker()
        if self.tokens is not None:
            self.tokens.close()
        self._folder.cleanup()


def _serving(rabbit: RabbitNode, deadline: float) -> None:
    """Return when a node that may be in the middle of starting, or of ending, serves."""
    while True:
        try:
            rabbit.wait()
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
            if rabbit.process is None or rabbit.process.poll() is not None:
                rabbit.start(wait=False)
        else:
            return


def _together(*environments: dict[str, str]) -> dict[str, str]:
    """Environments as one; what each of them loads beforehand is loaded."""
    env: dict[str, str] = {}
    for one in environments:
        loaded = [env["LD_PRELOAD"]] if "LD_PRELOAD" in env else []
        env |= one
        env["LD_PRELOAD"] = ":".join([*loaded, one["LD_PRELOAD"]])
    return env
