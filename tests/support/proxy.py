"""What stands between a browser and chatd: web servers with the files of ``etc/``, and a
relay that spoils connections in the ways that networks do."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.closing import Closing
from tests.support.daemon import PATIENCE, ROOT, DaemonError, spawn
from tests.support.rabbit_home import free_port

#: Where the files of ``etc/`` look for chatd.
TARGET = "127.0.0.1:8081"
MODULES = Path("/usr/lib/apache2/modules")
APACHE_MODULES = (
    *("mpm_event", "authz_core", "headers", "slotmem_shm"),
    *("proxy", "proxy_http", "proxy_balancer", "lbmethod_bybusyness"),
)

#: What Debian's nginx.conf gives a site, with every path inside the folder.
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    include {folder}/chatd.conf;
}}
"""

APACHE = """
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
ServerName 127.0.0.1
User {user}
Group {user}
Listen 127.0.0.1:{port}
{modules}
Include {folder}/chatd.conf
"""


class Proxy(Closing, ABC):
    """A web server in front of the HTTP ports of one chatd or more, listening when constructed."""

    #: The file of ``etc/`` it is configured with, and its line that names the port.
    source: str
    listen: tuple[str, str]

    def __init__(self, *targets: tuple[str, int]) -> None:
        if shutil.which(self.program()) is None:
            raise DaemonError(f"Install {self.program()} to run this test.")
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="chatd-proxy-"))
        self.folder.chmod(0o755)
        self._log = self.folder / "output.log"
        site = (ROOT / "etc" / self.source).read_text()
        for needed in (self.listen[0], TARGET):
            if needed not in site:
                raise DaemonError(f"{self.source} does not say {needed!r}.")
        site = site.replace(self.listen[0], self.listen[1].format(port=self.port))
        site = "".join(_aimed(line, targets) for line in site.splitlines(keepends=True))
        (self.folder / "chatd.conf").write_text(site)
        process = spawn(
            *self.command(),
            folder=self.folder,
            log=self._log,
            env={"HOME": str(self.folder)},
            death="TERM",
        )
        self.close = weakref.finalize(self, _dispose, process, self.folder)
        try:
            _await_port(self.port, process, self._log)
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def program(self) -> str:
        """The executable's name."""

    @abstractmethod
    def command(self) -> list[str]:
        """Write the main configuration and return the command line."""

    def url(self, path: str = "/") -> str:
        """The proxy's HTTP address of ``path``."""
        return f"http://127.0.0.1:{self.port}{path}"


def _aimed(line: str, targets: Sequence[tuple[str, int]]) -> str:
    """A line of a configuration, once for each of ``targets`` if it names one."""
    if TARGET not in line:
        return line
    servers = (line.replace(TARGET, f"{host}:{port}") for host, port in targets)
    return "".join(one.replace("chatd-1", f"chatd-{n}") for n, one in enumerate(servers, 1))


class Nginx(Proxy):
    source = "nginx/chatd.conf"
    listen = ("listen 80;", "listen 127.0.0.1:{port};")

    def program(self) -> str:
        return "nginx"

    def command(self) -> list[str]:
        main = self.folder / "nginx.conf"
        main.write_text(NGINX.format(folder=self.folder))
        return ["nginx", "-p", str(self.folder), "-c", str(main), "-e", str(self._log)]


class Apache(Proxy):
    source = "apache2/chatd.conf"
    listen = ("<VirtualHost *:80>", "<VirtualHost 127.0.0.1:{port}>")

    def program(self) -> str:
        return "apache2"

    def command(self) -> list[str]:
        main = self.folder / "apache2.conf"
        modules = "\n".join(
            f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in APACHE_MODULES
        )
        main.write_text(
            APACHE.format(folder=self.folder, port=self.port, modules=modules, user="www-data")
        )
        return ["apache2", "-f", str(main), "-DFOREGROUND"]


class HAProxy(Proxy):
    source = "haproxy/chatd.cfg"
    listen = ("bind :80", "bind 127.0.0.1:{port}")

    def program(self) -> str:
        return "haproxy"

    def command(self) -> list[str]:
        return ["haproxy", "-db", "-f", str(self.folder / "chatd.conf")]


class Caddy(Proxy):
    source = "caddy/Caddyfile"
    # no TLS, and thereby no certificate to be had from elsewhere
    listen = ("chat.example.org {", "{{\n\tadmin off\n}}\nhttp://127.0.0.1:{port} {{")

    def program(self) -> str:
        return "caddy"

    def command(self) -> list[str]:
        site = str(self.folder / "chatd.conf")
        return ["caddy", "run", "--adapter", "caddyfile", "--config", site]


def _await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise DaemonError(f"The proxy does not listen.\n{log.read_text()}") from None
            time.sleep(0.05)
        else:
            return


def _dispose(process: subprocess.Popen[bytes], folder: Path) -> None:
    # The workers too, however many connections they still hold.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)


class Relay(Closing):
    """A TCP relay to ``target`` that can be told to spoil what passes through it.

    ``silence``: connections whose first answer contains this are passed that answer's head and
    nothing after it, as by a proxy that does not understand what it let through. ``delay``: seconds
    that each piece takes.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.silence: tuple[bytes, ...] = ()
        self.delay = 0.0
        #: Whether requests, and answers, pass.
        self._flows = {False: threading.Event(), True: threading.Event()}
        #: Sources of which nothing passes any more.
        self._abandoned: set[socket.socket] = set()
        self._target = target
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._barred = False
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self.mend()
        self._run(self._accept)

    def url(self, path: str = "/") -> str:
        """The relay's HTTP address of ``path``."""
        return f"http://127.0.0.1:{self.port}{path}"

    def cut(self) -> None:
        """Break all connections and accept none until `mend`."""
        with self._lock:
            self._barred = True
            for one in self._open:
                _shut(one)

    def hold(self, *answers: bool) -> None:
        """Hold back requests (False), answers (True) or both until `mend`; nothing is lost."""
        for direction in answers:
            self._flows[direction].clear()

    def abandon(self) -> None:
        """Lose all that passes through the connections of now, and leave them open."""
        with self._lock:
            self._abandoned |= self._open

    def mend(self) -> None:
        """Let connections through again, as they should be. What was abandoned stays so."""
        self._barred = False
        self.delay = 0.0
        for flow in self._flows.values():
            flow.set()

    def close(self) -> None:
        """Break all connections and stop."""
        self._closed = True
        self.mend()
        self.cut()
        _shut(self._listener)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                continue
            try:
                if self._barred:
                    raise ConnectionRefusedError
                far = socket.create_connection(self._target, 10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._open |= {near, far}
            self._run(self._pass, near, far, False)
            self._run(self._pass, far, near, True)

    def _pass(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        silent = False
        try:
            while data := source.recv(65536):
                if silent or source in self._abandoned:
                    continue
                if answers and any(sign in data for sign in self.silence):
                    silent = True
                    data = data[: data.index(b"\r\n\r\n") + 4]
                time.sleep(self.delay)
                self._flows[answers].wait()
                sink.sendall(data)
        except OSError:
            pass
        finally:
            _shut(source)
            _shut(sink)
            with self._lock:
                self._open.discard(source)
                self._abandoned.discard(source)
            source.close()


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
