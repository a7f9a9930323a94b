"""What pytest and trial do for each of thousands of tests and need not: the outcome is the same."""

from __future__ import annotations

from functools import cache
from typing import Any
from unittest import TestCase

import _pytest.unittest
import pytest
from twisted.trial import _synctest

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


def do_once_what_is_the_same_for_all() -> None:
    """pytest reads Twisted's version from its metadata before each test, which takes longer than
    most tests do. trial clears what each module has noted of its warnings, to hear of them again;
    it also changes the filters, whereupon Python takes no notice of those notes
    (``warnings.warn_explicit`` compares versions)."""
    _pytest.unittest._get_twisted_version = cache(_pytest.unittest._get_twisted_version)
    _synctest._setWarningRegistryToNone = lambda modules: None


@cache
def _has_fixtures(case: type) -> bool:
    """Whether there are fixtures in its own body."""
    return any(isinstance(getattr(one, "__func__", one), _FIXTURE) for one in vars(case).values())
