"""``constraints.txt``: what packages are built with is all that chatd needs, and what it allows."""

from __future__ import annotations

import re
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.daemon import ROOT

PINNED: dict[str, str] = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
)


def needed(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> set[str]:
    """The names of all libraries that ``name`` needs, at any depth."""
    if (name, extras) in seen:
        return set()
    seen.add((name, extras))
    found: set[str] = set()
    for text in requires(name) or ():
        wanted = Requirement(text)
        marker = wanted.marker
        if marker is None or any(marker.evaluate({"extra": one}) for one in ("", *extras)):
            found.add(canonicalize_name(wanted.name))
            found |= needed(wanted.name, frozenset(wanted.extras), seen)
    return found


def test_all_that_is_needed_is_pinned() -> None:
    assert needed("chatd", frozenset(), set()) == set(PINNED)


def test_what_is_pinned_is_allowed() -> None:
    for text in requires("chatd") or ():
        wanted = Requirement(text)
        if wanted.marker is None:
            assert wanted.specifier.contains(PINNED[canonicalize_name(wanted.name)]), text


def test_every_pin_is_one_version() -> None:
    assert all(re.fullmatch(r"[0-9]+(\.[0-9]+)*", version) for version in PINNED.values())
