"""Collecting tests in less time than pytest takes, with the same outcome."""

from __future__ import annotations

from functools import cache
from typing import Any
from unittest import TestCase

import pytest

#: What ``pytest.fixture`` makes of a function.
_FIXTURE = type(pytest.fixture(lambda: None))


def pass_over_cases_without_fixtures(session: pytest.Session) -> None:
    """pytest looks for fixtures at every attribute of every ``TestCase``, hundreds of them trial's:
    a quarter of the time that each process takes to collect. Look once at each class instead."""
    manager: Any = session._fixturemanager
    parse = manager.parsefactories

    def parsefactories(*args: Any, **more: Any) -> None:
        case = type(more.get("holder"))
        if not issubclass(case, TestCase) or any(map(_has_fixtures, case.__mro__)):
            parse(*args, **more)

    manager.parsefactories = parsefactories


@cache
def _has_fixtures(case: type) -> bool:
    """Whether there are fixtures in its own body."""
    return any(isinstance(getattr(one, "__func__", one), _FIXTURE) for one in vars(case).values())
