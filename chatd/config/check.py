"""``twistd chatd --check``: tries everything, changes nothing, and says in plain words what it
found.

If chatd could not start with the settings, it prints one line on standard error, and the exit
status is 1. A port or database in use is only reported: it is probably held by the chatd that is to
be restarted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from chatd import __version__
from chatd.brokers import registry
from chatd.config import advice, explanation, preflight
from chatd.config.access import make_admission
from chatd.config.options import Options
from chatd.config.parsers import mask_password
from chatd.config.table import OPTIONS
from chatd.errors import InUse, StartError
from chatd.net.certificates import Certificates
from chatd.net.endpoints import listen_endpoint
from chatd.telemetry.log import one_line
from chatd.telemetry.standard_output import print_all
from chatd.timing.timer_wheel import TimerWheel
from chatd.timing.wall import WallClock


def effective(options: Options) -> Iterator[str]:
    """A line for each option: its value, and where it was given."""
    for option in OPTIONS:
        default = [option.default] if option.default is not None else []
        where, texts = options.said.get(option.name, ("default", default))
        counts = texts if option.repeated else texts[-1:]
        shown = ", ".join(mask_password(text) if option.secret else text for text in counts)
        yield f"  {option.name + ' =':30} {one_line(shown) or 'none':44} {one_line(where)}"


def _in_use(options: Options, certificates: Certificates) -> Iterator[str]:
    """A line for each port and database that is in use. The certificates of ports are added to
    ``certificates``. Raises `StartError` for what cannot be used at all."""
    config = options.config
    preflight.check_apart(config)
    for option, text in preflight.endpoints(config):
        try:
            with preflight.naming(option):
                listen_endpoint(None, text, certificates)
                preflight.check_port(text)
        except InUse as e:
            yield str(e)
    try:
        with preflight.naming("broker"), options.as_user():
            registry.preflight(config.broker)
    except InUse as e:
        yield str(e)


async def report(reactor: Any, options: Options, say: Callable[[str], object]) -> None:
    """Try everything, and call ``say`` with each line of the report. Raises `StartError` if chatd
    could not start."""
    config = options.config
    wall = WallClock(reactor)
    admission = make_admission(config, reactor, wall, TimerWheel(reactor))
    certificates = Certificates(admission.turns.handshake)
    in_use = list(_in_use(options, certificates))
    with preflight.naming("broker"):
        there = await registry.look(reactor, config.broker)
    say(f"chatd {__version__} can start with these settings.\n")
    say("Settings, and where each was given:")
    for line in effective(options):
        say(line)
    say("\nWhat they mean:")
    meaning = [*explanation.ports(config), *explanation.rights(config), explanation.kept(config)]
    for line in [*meaning, f"Broker: {there}."]:
        say(f"  {one_line(line)}")
    notes = [*advice.warnings(config, admission), *certificates.due(wall.seconds())]
    for line in [*notes, *(f"In use now: {line}" for line in in_use)]:
        say(f"\nNote: {one_line(line)}")


def run_check(reactor: Any, options: Options, out: TextIO | None = None) -> int:
    """Run `report` on ``reactor``, which is started and stopped for it. Returns the exit status: 0
    only if the report has ended well. Without ``out`` it goes to standard output, if there is one.
    """
    status = 1
    said: list[str] = []

    def told(_: None) -> None:
        nonlocal status
        status = 0

    def failed(failure: Failure) -> None:
        if failure.check(StartError, OSError):
            print(f"chatd: {one_line(str(failure.value))}", file=sys.stderr)
        else:
            failure.printTraceback(sys.stderr)  # a fault of chatd

    def begin() -> None:
        telling = report(reactor, options, said.append)
        doing = Deferred.fromCoroutine(telling).addCallbacks(told, failed)
        doing.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    return status if not said or print_all("\n".join(said), out) else 1
