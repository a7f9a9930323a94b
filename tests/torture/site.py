"""What is tortured: chatd nodes in processes of their own, and the broker beneath them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from attrs import define, field

from tests.support.daemon import Daemon, DaemonError
from tests.support.rabbit import Cluster
from tests.support.rabbit import Node as RabbitNode

_open = build_opener(ProxyHandler({})).open
#: Seconds within which all must serve again when nothing is broken any more.
HEAL = 120.0
OPTIONS = ("--rate", "10000/s", "--max-connections-per-address", "10000")


@define(eq=False)
class ChatNode:
    """A chatd process that may be killed, frozen, and started again."""

    name: str
    daemon: Daemon
    running: bool = True
    frozen: bool = False

    def url(self, path: str = "/") -> str:
        """See `tests.torture.clients.Node`."""
        return self.daemon.url(path)

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


@define(eq=False)
class Site:
    """All processes of one kind of broker. ``rabbits`` is empty for SQLite."""

    nodes: list[ChatNode]
    rabbits: list[RabbitNode]
    close_broker: Callable[[], None]
    _down: set[str] = field(factory=set)

    @classmethod
    def make(cls, broker: str, nodes: int, rooms: list[str]) -> Site:
        """``sqlite``: one node; ``rabbitmq``: one broker; ``cluster``: a broker of three.
        ``rooms`` are made at the start."""
        options = (*OPTIONS, *(word for room in rooms for word in ("--room", room)))
        if broker == "sqlite":
            return cls([ChatNode("node-0", Daemon(*options))], [], lambda: None)
        if broker == "rabbitmq":
            single = RabbitNode().start()
            rabbits, url, close = [single], single.url(), single.close
        else:
            cluster = Cluster(3).start()
            rabbits, url, close = cluster.nodes, cluster.url(), cluster.close
        url = f"{url}?heartbeat=4"
        site = cls([], rabbits, close)
        for number in range(nodes):
            site.nodes.append(ChatNode(f"node-{number}", Daemon(*options, broker=url)))
        return site

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
            node.daemon.close()
        self.close_broker()


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
