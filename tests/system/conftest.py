"""What the tests with browsers share: one Chromium and one chatd for all files of a process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.support.browser import Person, Visit, chromium
from tests.support.daemon import Daemon
from tests.support.proxy import Relay
from tests.support.tokens import Issuer
from tests.support.windows import Windows


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def windows(browser: Browser) -> Windows:
    """What every `Person` has one of."""
    return Windows(browser)


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    """The chatd that people come to, unless a file has its own."""
    with Daemon("--rate", "10000/s", "--trusted-proxy", "127.0.0.1/32") as daemon:
        yield daemon
        assert "Traceback" not in daemon.log(), daemon.log()


@pytest.fixture(scope="session")
def rooms(daemon: Daemon) -> Iterator[str]:
    """Names of rooms that nobody has used, made as they are asked for."""
    return (daemon.create_room(f"room-{number}") for number in range(1000))


@pytest.fixture
def room(rooms: Iterator[str]) -> str:
    """A room for this test alone."""
    return next(rooms)


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    """Who signs the tokens that `guarded` asks for."""
    return Issuer(str(tmp_path_factory.mktemp("issuer") / "key"))


@pytest.fixture(scope="session")
def guarded(issuer: Issuer) -> Iterator[Daemon]:
    """A chatd that asks for tokens."""
    with Daemon(*issuer.options) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def front(daemon: Daemon) -> tuple[str, int]:
    """Browsers come straight to chatd."""
    return daemon.http


@pytest.fixture
def visit(windows: Windows, front: tuple[str, int]) -> Iterator[Visit]:
    """Opens the chat page for one more person; they all leave at the end."""
    people: list[Person] = []

    def visit(path: str = "/", at: tuple[str, int] = front, **more: Any) -> Person:
        person = Person(windows, f"http://{at[0]}:{at[1]}{path}", **more)
        people.append(person)
        return person

    yield visit
    for person in people:
        person.leave()


@pytest.fixture
def relay(front: tuple[str, int]) -> Iterator[Relay]:
    """A network between the browser and ``front`` that can be spoilt."""
    with Relay(front) as relay:
        yield relay
