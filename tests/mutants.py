"""Changes chatd a line at a time, and looks whether a test notices.

    python -m tests.mutants                         # all of TESTS
    python -m tests.mutants rooms.history rooms.blocks
    python -m tests.mutants --quick rooms           # only by tests of less than 0.1 s
    python -m tests.mutants --by room,model rooms.room

mutmut makes the mutants (``[mutmut]`` in setup.cfg) into ``mutants/``. The tests are collected and
run once, each in a fork, for a reactor that has run cannot be shared; which tells the tests that
reach a function. Each mutant of it is then tried by these in a fork, the quickest test first.
mutmut's own runner collects anew for each mutant, which takes seconds.

Not tried are mutants in which only the words of a text differ, and, but with ``--all``, those in
which an argument or value is None or missing or a name is spelled otherwise: nearly all of these
are refused by ``mypy --strict``, or noticed at once.
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import os
import pickle
import shutil
import signal
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from _pytest.runner import runtestprotocol

#: The tests of each folder: unit tests, or where they say so those of a whole node.
TESTS = {
    "access": (
        *("fair_queue", "limits", "origins", "protocol", "rights", "room_names", "token_files"),
        *("tokens", "unread"),
    ),
    "amqp": (
        *("amqp_client", "amqp_codec", "amqp_confirms", "amqp_deliveries", "amqp_hosts"),
        *("amqp_outgoing", "amqp_records", "amqp_url", "channel_pool", "own_records"),
        *("publish_channels", "unplaced"),
    ),
    "brokers": ("broker_registry", "meeting", "model", "read_back", "room", "replication"),
    "brokers.memory": ("directory", "history", "meeting", "model", "repeats", "room"),
    "brokers.rabbitmq": (
        *(
            "amqp_records",
            "another_stream",
            "bindings",
            "broadcasts",
            "channel_pool",
            "followed_in_an_alarm",
        ),
        *("barriers", "handover", "liveness", "long_names", "meeting", "own_records"),
        *("publish_channels", "stream_consumer", "tail", "troubled_channels", "unplaced"),
    ),
    "config": tuple(f"integration/{name}" for name in ("check", "config_errors", "options", "tls")),
    "directory": (
        *("another_stream", "directory", "faults", "readiness", "registry", "restoration"),
        *("room_lives", "room_names"),
    ),
    "net": ("batches", "heartbeat", "inherited", "ports", "socket_group", "supervision", "tcp"),
    "presence": (
        *("ephemeral", "fanout", "meeting", "partition", "poll_presence", "presence", "registry"),
        *("replication",),
    ),
    "protocol": ("protocol", "room_names"),
    "rooms": (
        *("at_hand", "audience", "batches", "blocks", "cache", "catch_up", "dating", "fanout"),
        *("failed_reads", "faults", "history", "history_back", "history_places", "history_sharing"),
        *("look_back", "model", "outline", "read_back", "read_queue", "reading", "registry"),
        *("repeats", "room", "room_attaching", "room_counts", "room_expiry", "room_lives"),
        *("start_position", "subscription"),
    ),
    "service": (
        *("at_hand", "audience", "garbage", "history_back", "lifecycle", "long_names", "look_back"),
        *("reading", "signals", "state_and_events", "supervision"),
    ),
    "timing": (
        *("catch_up", "gathering", "handover", "heartbeat", "limits", "registry", "singleflight"),
        *("slots", "supervision", "turn_queue", "wall"),
    ),
    "transports": (
        *("gathering", "pairs", "poll_outlet", "writer", "integration/deaf_clients"),
        *("integration/legacy", "integration/websocket", "integration/websocket_rooms"),
    ),
    "transports.http": (
        *("body", "chunks", "poll_presence", "rest_of_head", "usual_poll"),
        *(f"integration/{name}" for name in ("connections_live", "deaf_clients", "drain")),
        *(f"integration/{name}" for name in ("events", "http", "http_publish", "limits_live")),
        *(f"integration/{name}" for name in ("poll", "poll_cookies", "request_heads")),
        *(f"integration/{name}" for name in ("access_log", "senders_ahead", "usual_poll")),
    ),
    "transports.setup": tuple(
        f"integration/{name}"
        for name in ("access_log", "connections_live", "deaf_clients", "drain", "setup_port")
    ),
    "transports.socketio": (
        *("poll_outlet", "socketio_packets", "integration/socketio"),
        "integration/socketio_suites",
    ),
    "transports.websocket": (
        *("common_frame", "heartbeat"),
        *(f"integration/{name}" for name in ("deaf_clients", "drain", "handshake", "legacy")),
        *(f"integration/{name}" for name in ("rfc6455", "websocket", "websocket_rooms")),
    ),
}
QUICK = 0.1
#: Where mutmut writes to.
MADE = "mutants"
#: What tells mutmut that it makes mutants, and this program that it has.
MAKING = "mutant_generation"
#: Words from which on a text is taken for prose.
WORDS = 4

Mutants = dict[str, Callable[..., Any]]


class Trampoline:
    """Stands for each function of which there are mutants, and calls one, or the original."""

    #: The functions' mutants by module.
    known: dict[str, list[Mutants]]
    active: Mutants | None = None
    mutant: Callable[..., Any]
    reached: set[int]

    def __init__(self) -> None:
        self.known, self.reached = {}, set()

    def wrap(self, mutants: Mutants, is_classmethod: bool = False) -> Any:
        """As ``mutmut.mutation.trampoline.wrap_in_trampoline``, without looks at the environment,
        which cost more than most functions."""

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            self.known.setdefault(function.__module__, []).append(mutants)

            @functools.wraps(function)
            def call(*args: Any, **more: Any) -> Any:
                self.reached.add(id(mutants))
                chosen = self.mutant if self.active is mutants else mutants["_mutmut_orig"]
                if is_classmethod:
                    return getattr(args[0], chosen.__name__)(*args[1:], **more)
                return chosen(*args, **more)

            return call

        return decorate


class Trial:
    """A plugin of pytest that tries the mutants of ``modules`` in place of running the tests."""

    def __init__(self, trampoline: Trampoline, modules: list[str], longest: float, all: bool):
        self._trampoline, self._modules = trampoline, modules
        self._longest, self._all = longest, all
        #: What each test reaches, and the seconds that it takes.
        self.reach: dict[pytest.Item, set[int]] = {}
        self.took: dict[pytest.Item, float] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        tests = [item for item in session.items if self._passes(item)]
        for module in self._modules:
            counts: Counter[str] = Counter()
            for mutants in self._trampoline.known.get(f"chatd.{module}", ()):
                able = [t for t in tests if id(mutants) in self.reach[t] and self._quick(t)]
                for name in [name for name in mutants if name != "_mutmut_orig"]:
                    outcome = self._outcome(mutants, name, sorted(able, key=self.took.__getitem__))
                    counts[outcome] += 1
                    if outcome in ("survived", "reached by no test"):
                        print(f"{outcome}: {name}", *_difference(mutants, name), sep="\n    ")
            print(f"{module}: {dict(counts)}", flush=True)
        return True

    def _quick(self, test: pytest.Item) -> bool:
        return self.took[test] < self._longest

    def _passes(self, test: pytest.Item) -> bool:
        """Whether a test passes without a mutant; what it reaches, and how long it takes."""
        read, write = os.pipe()
        child = os.fork()
        if not child:
            self._find_out(test, write)
        os.close(write)
        with os.fdopen(read, "rb") as found:
            told = found.read()  # nothing, if the process ended before the test did
        os.waitpid(child, 0)
        nothing: tuple[bool, float, set[int]] = (False, 0.0, set())
        passed, self.took[test], self.reach[test] = pickle.loads(told) if told else nothing
        return passed

    def _find_out(self, test: pytest.Item, write: int) -> NoReturn:
        """Run a test, and write whether it passes, how long it takes, and what it reaches."""
        _be_silent()
        _forget()
        reached = self._trampoline.reached = set()
        began = time.process_time()
        passed = _passes(test)
        with os.fdopen(write, "wb") as told:
            pickle.dump((passed, time.process_time() - began, reached), told)
        os._exit(0)

    def _outcome(self, mutants: Mutants, name: str, tests: list[pytest.Item]) -> str:
        if _is_prose(mutants["_mutmut_orig"], mutants[name]):
            return "words"
        if not self._all and _is_argument(_difference(mutants, name)):
            return "arguments"
        if not tests:
            return "reached by no test"
        child = os.fork()
        if not child:
            self._try(mutants, name, tests)
        _, status = os.waitpid(child, 0)
        return "survived" if status == 0 else "killed"

    def _try(self, mutants: Mutants, name: str, tests: list[pytest.Item]) -> NoReturn:
        """Exit with 0 if all tests pass. What takes ten times as long as it should fails."""
        _be_silent()
        self._trampoline.active, self._trampoline.mutant = mutants, mutants[name]
        _forget()
        for test in tests:
            signal.setitimer(signal.ITIMER_PROF, 10 * self.took[test] + 1)
            signal.alarm(120)
            if not _passes(test):
                os._exit(1)
        os._exit(0)


def _be_silent() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)


def _passes(test: pytest.Item) -> bool:
    try:
        reports = runtestprotocol(test, nextitem=None, log=False)
    except Exception:  # Hypothesis cannot always make a patch of what it has found
        return False
    return not any(report.failed for report in reports)


def _forget() -> None:
    """Empty the caches of functions: what is in them hides mutants."""
    for name, module in list(sys.modules.items()):
        if name.startswith("chatd."):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


@functools.cache
def _functions(path: str) -> dict[str, list[str]]:
    lines = Path(path).read_text().split("\n")
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, kinds)]
    return {node.name: lines[node.lineno : node.end_lineno] for node in nodes}


def _difference(mutants: Mutants, name: str) -> list[str]:
    """The lines of a mutant that differ, with ``-`` and ``+`` before them."""
    functions = _functions(inspect.getfile(inspect.unwrap(mutants["_mutmut_orig"])))
    before, after = functions[name.rsplit("__mutmut_", 1)[0] + "__mutmut_orig"], functions[name]
    return [line for line in difflib.ndiff(before, after) if line[0] in "-+"]


def _is_prose(before: Any, after: Any) -> bool:
    """Whether only the words of one text differ."""
    old, new = (getattr(one, "__func__", one).__code__ for one in (before, after))
    if len(old.co_consts) != len(new.co_consts) or old.co_code != new.co_code:
        return False
    changed = [pair for pair in zip(old.co_consts, new.co_consts, strict=True) if len({*pair}) > 1]
    return len(changed) == 1 and all(
        isinstance(text, str) and len(text.split()) >= WORDS for text in changed[0]
    )


def _is_argument(difference: Iterable[str]) -> bool:
    """Whether an argument or value is None or missing, or a name is spelled otherwise."""
    before = " ".join(line[2:].strip() for line in difference if line[0] == "-")
    after = " ".join(line[2:].strip() for line in difference if line[0] == "+")
    return (
        after.count("None") > before.count("None")
        or after.count(",") < before.count(",")
        or any(sign in after for sign in ("(, ", ", )", "XX"))
        or after.lower() == before.lower()
    )


def _file(test: str) -> str:
    folder, _, name = test.rpartition("/")
    return f"tests/{folder or 'unit'}/test_{name}.py"


def _folder(module: str) -> str:
    return module.rpartition(".")[0]


def _make(modules: list[str]) -> None:
    """Write the mutants of ``modules``, and what they need, to ``mutants/``."""
    from mutmut import __main__ as mutmut

    shutil.rmtree(MADE, ignore_errors=True)
    Path(MADE).mkdir()
    os.environ["MUTANT_UNDER_TEST"] = MAKING
    mutmut.config().only_mutate = [f"chatd/{module.replace('.', '/')}.py" for module in modules]
    mutmut.copy_src_dir()
    mutmut.copy_also_copy_files()
    mutmut.create_mutants(1)


def main() -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(TESTS), metavar="FOLDER[.MODULE]")
    parser.add_argument("--quick", action="store_true", help=f"only by tests of < {QUICK} s")
    parser.add_argument("--all", action="store_true", help="try those of arguments, too")
    parser.add_argument(
        "--by", type=lambda text: text.split(","), metavar="TEST,TEST", help="only by these tests"
    )
    options = parser.parse_args()
    paths = [path.relative_to("chatd").with_suffix("") for path in Path("chatd").rglob("*.py")]
    found = sorted(".".join(path.parts) for path in paths)
    modules = [name for name in found if {name, _folder(name)} & set(options.modules)]
    if os.environ.get("MUTANT_UNDER_TEST") != MAKING:
        _make(modules)
        os.chdir(MADE)  # where chatd and tests are now imported from
        os.execv(sys.executable, [sys.executable, "-m", "tests.mutants", *sys.argv[1:]])
    os.environ["MUTANT_UNDER_TEST"] = ""  # for Hypothesis's profile in conftest.py

    from mutmut.mutation import trampoline as replaced

    trampoline = Trampoline()
    replaced.wrap_in_trampoline = trampoline.wrap
    trial = Trial(trampoline, modules, QUICK if options.quick else 1e9, options.all)
    names = sorted({name for module in modules for name in TESTS[_folder(module)]})
    files = [_file(name) for name in (options.by or names)]
    files += [] if options.by else ["tests/torture/test_simulation.py"]
    off = ["-p", "no:xdist", "-p", "no:cacheprovider", "-o", "timeout=0", "-q", "--rootdir=."]
    return pytest.main([*off, *files], plugins=[trial])


if __name__ == "__main__":
    sys.exit(main())
