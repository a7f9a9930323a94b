"""RabbitMQ nodes for tests: real ones, on free loopback ports, that never outlive the tests.

The server comes from Debian's ``rabbitmq-server``, run directly as whoever runs the tests: nothing
of the system's own node is touched. ``TEST_OF_CHATD_RABBITMQ`` may name a folder that holds a whole
other Debian; its RabbitMQ is then run under chroot (see ``.ci/rabbitmq4``).

Nodes of one test process share one epmd on a port of its own, so runs beside each other never meet.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from functools import cache
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.support import rabbit_boot, rabbit_run
from tests.support.certificates import Certificates, make_certificates
from tests.support.rabbit_home import PATIENCE, free_port, home

_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
_CTL = "/usr/lib/rabbitmq/bin/rabbitmqctl"

#: Of virtual hosts.
_numbers = itertools.count(1)


class Node:
    """One RabbitMQ node; its ports and data stay the same however often it is started.

    Methods block, at most for seconds, except where a Deferred is returned. ``plugins``, by commas,
    are enabled. With ``tls`` the node also listens for TLS, and demands a certificate of the
    client's if ``tls`` is ``"mutual"``. ``config`` is Erlang, what configures ``rabbit``, and
    ``others`` what configures other applications.
    """

    def __init__(self, tls: str = "", plugins: str = "", others: Sequence[str] = ()) -> None:
        self.plugins = plugins
        self.others = others
        self.home = home()
        short = next(self.home.names)
        self.name = f"{short}@127.0.0.1"
        self.folder = self.home.folder / short
        self.folder.mkdir()
        self.port = free_port()
        self.dist_port = free_port()
        self.config = ["{log, [{console, [{enabled, false}]}]}"]
        self.certificates: Certificates | None = None
        self.process: subprocess.Popen[bytes] | None = None
        if tls:
            self.tls_port = free_port()
            self.certificates = make_certificates(self.folder)
            self.config += self._tls_config(self.certificates, tls == "mutual")

    def _tls_config(self, certificates: Certificates, mutual: bool) -> list[str]:
        inside = self.home.inside
        options = (
            f'{{cacertfile, "{inside(certificates.authority)}"}}',
            f'{{certfile, "{inside(certificates.server_certificate)}"}}',
            f'{{keyfile, "{inside(certificates.server_key)}"}}',
            f"{{verify, {'verify_peer' if mutual else 'verify_none'}}}",
            f"{{fail_if_no_peer_cert, {str(mutual).lower()}}}",
        )
        return [
            f'{{ssl_listeners, [{{"127.0.0.1", {self.tls_port}}}]}}',
            f"{{ssl_options, [{', '.join(options)}]}}",
        ]

    def _write_files(self) -> dict[str, str]:
        (self.folder / "plugins").write_text(f"[{self.plugins}].\n")
        # not as rabbitmq.conf, for which RabbitMQ reads what might be in one, and so for long
        rabbit = ",\n".join(self.config)
        terms = ",\n".join([f"{{rabbit, [\n{rabbit}\n]}}", *self.others])
        (self.folder / "node.config").write_text(f"[{terms}].\n")
        inside = self.home.inside(self.folder)
        return {
            **self.home.env,
            **({} if self.home.chroot else rabbit_boot.ENV),
            # one that is not there, unless some are enabled: all plugins would be looked at
            **({} if self.plugins else {"RABBITMQ_PLUGINS_DIR": f"{inside}/none"}),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": f"{inside}/data",
            "RABBITMQ_LOG_BASE": f"{inside}/log",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{inside}/plugins",
            "RABBITMQ_CONFIG_FILE": f"{inside}/none",
            "RABBITMQ_PID_FILE": f"{inside}/pid",
            # Makes the script exec the Erlang machine, so that our signals reach it.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-config {inside}/node "
                "-kernel inet_dist_use_interface {127,0,0,1} -kernel net_ticktime 8"
            ),
        }

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: they can use the node, and neither start nor end it."""
        return {**self.__dict__, "process": None}

    def start(self, wait: bool = True) -> Node:
        """Start the node; with ``wait`` return when it serves clients."""
        assert self.process is None or self.process.poll() is not None, "already running"
        env = self._write_files()
        self.process = self.home.spawn([_SERVER], self.folder / "console", env)
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Return when the node serves clients. RuntimeError with its log if it does not."""
        self.await_startup()
        self.settle()

    def await_startup(self) -> None:
        """Return when the node has started, or RuntimeError with its log if it does not."""
        deadline = time.monotonic() + PATIENCE
        while not self._listening():
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended while starting:\n{self.log()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start in time:\n{self.log()}")
            time.sleep(0.02)
        self.eval("rabbit:await_startup()")

    def settle(self) -> None:
        """Write down that streams exist here. RabbitMQ itself does so a second or so after the
        first stream of all was declared; one killed before that never serves a stream again."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.eval(_SETTLE)
            except RuntimeError as e:  # the nodes of a cluster must first find each other
                if "coordinator_unavailable" not in str(e) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def ready(self) -> Deferred[None]:
        """Fire when the node serves clients, the reactor running meanwhile."""
        return deferToThread(self.wait)

    def _listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self) -> str:
        """The end of what the node logged."""
        files = [self.folder / "console", *sorted((self.folder / "log").glob("*.log"))]
        return "\n".join(f.read_text(errors="replace")[-3000:] for f in files if f.exists())

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} is not running"
        self.process.send_signal(number)

    def stop(self) -> None:
        """Shut down in order."""
        self._signal(signal.SIGTERM)
        assert self.process is not None
        self.process.wait(PATIENCE)

    def kill(self) -> None:
        """``kill -9``: what a power cut leaves, the page cache apart."""
        self._signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(PATIENCE)

    def freeze(self) -> None:
        """Stop the process in its tracks: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        assert self.process is not None
        # all of its threads: those on another processor go on for a moment
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        """End `freeze`."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the node if it runs and remove its data."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def eval(self, expression: str) -> str:
        """Evaluate Erlang on the node, in some 10 ms; RuntimeError if it raises."""
        # -r: of two calls at a time under one name, the node would refuse one
        reached = ["-address", f"127.0.0.1:{self.dist_port}", "-timeout", "60"]
        command = ["erl_call", "-r", *reached, "-e"]
        for _ in range(10):
            try:
                answer = self.home.run(command, stdin=f"{expression}.\n")
                break
            except RuntimeError as e:  # a busy node answers late: nothing was evaluated yet
                if "failed to connect" not in str(e):
                    raise
                time.sleep(0.5)
        else:
            raise RuntimeError(f"{self.name} cannot be reached")
        if not answer.startswith("{ok, "):
            raise RuntimeError(f"{expression}: {answer}")
        return answer[len("{ok, ") : -1]

    def ctl(self, *args: str) -> str:
        """``rabbitmqctl ARGS``: for a person's view; it takes about a second."""
        return self.home.run([_CTL, "--longnames", "--node", self.name, *args])

    def vhost(self) -> str:
        """A new virtual host in which ``guest`` may do everything."""
        name = f"test{os.getpid()}-{next(_numbers)}"
        self.eval(
            f'V = <<"{name}">>, rabbit_vhost:add(V, <<"test">>), rabbit_auth_backend_internal:'
            'set_permissions(<<"guest">>, V, <<".*">>, <<".*">>, <<".*">>, <<"test">>)'
        )
        return name

    def drop_vhost(self, name: str) -> None:
        """Delete a virtual host with all its queues; its connections are closed."""
        self.eval(f'rabbit_vhost:delete(<<"{name}">>, <<"test">>)')

    def shun(self, other: Node) -> None:
        """Neither speak to ``other`` nor let it speak to us, as if there was no network."""
        self.eval(
            f"erlang:set_cookie('{other.name}', wrong), erlang:disconnect_node('{other.name}')"
        )

    def meet(self, other: Node) -> None:
        """Speak to ``other`` again."""
        self.eval(f"erlang:set_cookie('{other.name}', erlang:get_cookie())")

    def add_user(self, name: str) -> None:
        """A new user in ``/`` who may do everything, and whose password is its name."""
        self.eval(
            f'U = <<"{name}">>, A = <<"test">>, rabbit_auth_backend_internal:add_user(U, U, A),'
            "rabbit_auth_backend_internal:set_permissions"
            '(U, <<"/">>, <<".*">>, <<".*">>, <<".*">>, A)'
        )

    def connections(self, user: str) -> int:
        """How many connections of ``user`` there are to this node."""
        return int(self.eval(f"length({_OF_USER.format(user)})"))

    def disconnect(self, user: str) -> None:
        """Close the connections of ``user`` to this node, as its operator does."""
        closing = 'rabbit_networking:close_connection(P, "for the test")'
        self.eval(f"[{closing} || P <- {_OF_USER.format(user)}]")

    def alarm(self, on: bool) -> None:
        """Raise or clear the memory alarm, which blocks every connection that publishes."""
        resource_limit = "{resource_limit, memory, node()}"
        call = f"set_alarm({{{resource_limit}, []}})" if on else f"clear_alarm({resource_limit})"
        # the second call is answered when all connections were told of the first
        self.eval(f"rabbit_alarm:{call}, rabbit_alarm:get_alarms()")

    def url(self, vhost: str = "/", tls: bool = False) -> str:
        """The address for ``--broker``."""
        scheme, port = ("amqps", self.tls_port) if tls else ("amqp", self.port)
        return f"{scheme}://guest:guest@127.0.0.1:{port}/{quote(vhost, safe='')}"


#: Erlang: make a stream, delete it, and write what is known of streams to the disk.
_SETTLE = (
    'Name = rabbit_misc:r(<<"/">>, queue, <<"first">>),'
    'Kind = [{<<"x-queue-type">>, longstr, <<"stream">>}],'
    '{_, Q} = rabbit_amqqueue:declare(Name, true, false, Kind, none, <<"test">>),'
    '{ok, _} = rabbit_amqqueue:delete(Q, false, false, <<"test">>),'
    "[ok = dets:sync(Table) || Table <- dets:all()]"
)
#: Erlang: the connections of a user to the node that is asked.
_OF_USER = (
    "[P || P <- rabbit_networking:local_connections(), "
    'rabbit_networking:connection_info(P, [user]) =:= [{{user, <<"{}">>}}]]'
)


@cache
def start_shared_node() -> Node:
    """What `shared_node` is, where this process is the one that starts it."""
    return Node(tls="mutual").start()


@cache
def shared_node() -> Node:
    """The node that the tests of all processes of this run share, each with its own `Node.vhost`;
    started when first asked for. It listens for TLS, too, and demands a certificate there.

    A test that changes more than its virtual host, that raises an alarm for example, takes
    `own_node`."""
    shared: Node = rabbit_run.ask() or start_shared_node()
    return shared


@cache
def own_node() -> Node:
    """The node that the tests of this process share and may do anything to, as long as it serves
    afterwards; started when first asked for."""
    return Node().start()
