"""axe-core, the rules of accessible pages that a machine can check, run in a page of a test."""

from __future__ import annotations

from typing import Literal

from playwright.sync_api import Page

from tests.support.daemon import ROOT

_SOURCE = ROOT / ".cache" / "js" / "node_modules" / "axe-core" / "axe.min.js"
_RUN = """axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
  violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target}: ${failureSummary}`)))"""


def script() -> str:
    """An expression whose promise brings what is wrong with the page that it is evaluated in, by
    any of axe's rules: for each element the rule, the element, and why."""
    if not _SOURCE.exists():
        raise FileNotFoundError("Run the tests by `make test`, which installs axe-core.")
    return f"(() => {{ {_SOURCE.read_text()}; return {_RUN}; }})()"


def violations(page: Page) -> list[str]:
    """What is wrong with ``page`` as it is now."""
    found: list[str] = page.evaluate(script())
    return found


def check_themes(page: Page) -> None:
    """No rule of axe's is broken, in light and dark."""
    themes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for theme in themes:
        page.emulate_media(color_scheme=theme)
        page.wait_for_function("() => document.getAnimations().length === 0")
        assert violations(page) == [], theme
