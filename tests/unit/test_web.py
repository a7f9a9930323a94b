"""The browser's side as files: all of it is served and packaged, and a page loads in one go."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from chatd.transports.http.pages import Offer, routes

WEB = Path(str(files("chatd.web")))
LINES = 320
MODULES = sorted(WEB.rglob("*.js"))
#: ``import … from './x.js'`` and ``export … from './x.js'``; a type's import in a comment is none.
IMPORT = re.compile(r"^(?:import|export)\b[^;]*?from '([^']+)';", re.MULTILINE)


class _Head(HTMLParser):
    """Collects what a page loads first: its scripts and what it preloads."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.preloaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script":
            self.scripts.append(given["src"] or "")
        elif tag == "link" and given.get("rel") == "modulepreload":
            self.preloaded.append(given["href"] or "")


def _imports(module: Path) -> set[Path]:
    return {(module.parent / name).resolve() for name in IMPORT.findall(module.read_text())}


def _reached(module: Path) -> set[Path]:
    """``module`` and everything that is loaded with it."""
    reached: set[Path] = set()
    left = {module}
    while left:
        reached |= left
        left = {other for one in left for other in _imports(one)} - reached
    return reached


@pytest.mark.parametrize("page", ["index.html", "admin/index.html"])
def test_a_page_preloads_every_module_that_it_will_need_and_no_other(page: str) -> None:
    head = _Head()
    head.feed((WEB / page).read_text())
    [script] = head.scripts
    needed = {str(one.relative_to(WEB)) for one in _reached(WEB / script)} - {script}
    assert sorted(head.preloaded) == sorted(needed)


def test_every_module_is_served() -> None:
    served = {route.path for route in routes(Offer(["lobby"], "open", 16384, administered=True))}
    for module in MODULES:
        assert f"/{module.relative_to(WEB)}" in served


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(WEB)))
def test_a_module_is_short_and_says_what_it_is(module: Path) -> None:
    text = module.read_text()
    assert len(text.splitlines()) <= LINES
    assert text.startswith("/**")


def test_the_client_stands_by_itself_and_imports_point_one_way() -> None:
    """Nothing of the page in it, and no circles: each module's imports reach no way back."""
    client = WEB / "client"
    for module in client.rglob("*.js"):
        for other in _imports(module):
            assert other.is_relative_to(client)
            assert module not in _reached(other)
