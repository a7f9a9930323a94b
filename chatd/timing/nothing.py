"""A callback for where there is nobody to be told any more."""

from __future__ import annotations


def nothing() -> None:
    """Do nothing. Takes the place of a method of what has ended, which would be kept with it."""
