"""What goes for every test."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in an empty folder, so that what it leaves behind is not left in the tree."""
    monkeypatch.chdir(tmp_path)


#: Files that take longest, the longest first, so that none is left over at the end of a run in
#: several processes.
SLOW = ("test_browser", "test_proxies", "test_failures", "test_browser_client", "test_broker_amqp")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    rank = {name: number for number, name in enumerate(SLOW)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(SLOW)))
