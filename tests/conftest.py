"""What goes for every test."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.support import rabbit_run
from tests.support.daemon import ROOT
from tests.support.forked import share_nursery
from tests.support.rabbit import start_shared_node
from tests.support.shortcuts import (
    do_once_what_is_the_same_for_all,
    pass_over_cases_without_fixtures,
)

# Until all tests are collected nothing is let go that is worth looking for, and what is there then
# stays to the end: looked through in each collection, it took a fifth of the processor's time.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Take the short way to what there is."""
    pass_over_cases_without_fixtures(session)


def pytest_collection_finish() -> None:
    """All modules are there. Look for garbage from here on, in what the tests make."""
    do_once_what_is_the_same_for_all()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


@pytest.fixture(scope="session")
def _folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' folders are."""
    return tmp_path_factory.mktemp("folders")


@pytest.fixture(autouse=True)
def _folder_of_its_own(_folders: Path) -> Iterator[None]:
    """Each test runs in an empty folder, so that what it leaves behind is not left in the tree.
    ``tmp_path`` would do, in 2 ms: it looks at the folders of all tests before. It is not removed
    before the end: what serves several tests may have begun in it."""
    before, folder = os.getcwd(), tempfile.mkdtemp(dir=_folders)
    os.chdir(folder)
    yield
    os.chdir(before)


# The same examples in every run of a gate: what one finds by luck must not stop another's change.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("developer", deadline=None, max_examples=50)
# Where lines are traced, which takes three times as long, few examples run them all.
settings.register_profile("traced", settings.get_profile("ci"), max_examples=5)
# mutmut runs each test many times in one process.
settings.register_profile(
    "mutants",
    settings.get_profile("ci"),
    max_examples=20,
    suppress_health_check=[HealthCheck.differing_executors],
)
PROFILE = "ci" if os.environ.get("CI") else "developer"
settings.load_profile("mutants" if "MUTANT_UNDER_TEST" in os.environ else PROFILE)

#: Files that take longest, the longest first, so that none is left over at the end of a run in
#: several processes.
SLOW = (
    "test_browser",
    "test_accessibility",
    "test_proxies",
    "test_scrolling",
    "test_three_nodes",
    "test_clock",
    "test_failures",
    "test_recovery",
    "test_chatd_js",
    "test_packaging",
    "test_readme",
    "test_npm",
    "test_docs",
    "test_broker_amqp",
    "test_lying_broker",
    "test_faulty_disk",
    "test_transports",
    "test_disk",
)

#: Files of ``system`` that share a process, and with it what costs much to start: a Chromium with
#: its windows and Playwright's driver, about the same work in each group; or a RabbitMQ node of
#: their own.
TOGETHER = (
    ("test_browser", "test_conversation"),
    ("test_accessibility", "test_page"),
    ("test_proxies", "test_browser_client"),
    (
        "test_scrolling",
        "test_foreign_clients",
        "test_operators_page",
        "test_socketio",
        "test_recipes",
    ),
    ("test_failures", "test_whole_node"),
)


class TogetherScheduling(LoadFileScheduling):
    """A file stays in one process, and so do the files that are `TOGETHER`."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        name = Path(file).stem if "system" in Path(file).parts else ""
        return next((f"with {group[0]}" for group in TOGETHER if name in group), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Where files are distributed, distribute them so."""
    return TogetherScheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_configure(config: pytest.Config) -> None:
    """Where several processes run the tests, let them have one RabbitMQ node, and import once what
    their daemons are forked from."""
    if config.getoption("dist", "no") != "no":
        rabbit_run.serve(start_shared_node)
        share_nursery(ROOT)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    rank = {name: number for number, name in enumerate(SLOW)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(SLOW)))
