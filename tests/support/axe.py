"""axe-core, the rules of accessible pages that a machine can check, run in a page of a test."""

from __future__ import annotations

from functools import cache
from typing import Any

from playwright.sync_api import Page

from tests.support.daemon import ROOT

_SOURCE = ROOT / ".cache" / "js" / "node_modules" / "axe-core" / "axe.min.js"


@cache
def _axe() -> str:
    if not _SOURCE.exists():
        raise FileNotFoundError("Run the tests by `make test`, which installs axe-core.")
    return _SOURCE.read_text()


def violations(page: Page) -> list[str]:
    """What is wrong with ``page`` as it is now, by any of axe's rules: rule, element, why."""
    page.evaluate(_axe())
    found: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{rule['id']}: {node['target']}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
