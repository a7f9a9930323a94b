"""The user whom twistd is told to become (``--uid``, ``--gid``) once ports are open.

What is opened later, such as the log, the database and a certificate that was renewed, is opened as
that user; so whether it can be is looked at as that user, before twistd goes into the background.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from twisted.python import usage


def check_user(twistd: Mapping[str, Any]) -> None:
    """Raise `usage.UsageError` if twistd could not become the user and group that it is told to:
    it would end with a traceback, or without a word."""
    uid, gid = _ids(twistd)
    option = "uid" if uid is not None else "gid"
    if os.geteuid() and (uid not in (None, os.getuid()) or gid not in (None, os.getgid())):
        raise usage.UsageError(
            f"--{option}: only root can become another user; leave it out, or start as root"
        )
    try:
        with as_user(twistd):
            pass
    except OSError as e:  # root may be short of a right (capabilities(7)), as in a container
        raise usage.UsageError(
            f"--{option}: root may not become another user here ({e.strerror}); leave it out, or"
            " give this process CAP_SETUID and CAP_SETGID"
        ) from None


@contextmanager
def as_user(twistd: Mapping[str, Any]) -> Iterator[None]:
    """A context in which files are opened, and `os.access` with ``effective_ids`` answers, as after
    twistd has become who it is told to."""
    uid, gid = _ids(twistd) if not os.geteuid() else (None, None)
    if gid is None:
        yield
        return
    own, groups = os.getegid(), os.getgroups()
    try:
        if uid:  # as twistd does, which leaves root its groups
            os.initgroups(pwd.getpwuid(uid).pw_name, gid)
        os.setegid(gid)
        os.seteuid(uid or 0)
        yield
    finally:
        os.seteuid(0)
        os.setegid(own)
        if uid:
            os.setgroups(groups)


def _ids(twistd: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Those of the user and the group, each None if it stays. A user comes with the group that the
    system has for it, where no other is given."""
    uid, gid = twistd.get("uid"), twistd.get("gid")
    if uid is None:
        return None, gid
    try:
        entry = pwd.getpwuid(uid)
    except (KeyError, OverflowError):
        raise usage.UsageError(
            f"--uid: there is no user {uid} on this machine; add one, or give another"
        ) from None
    return uid, entry.pw_gid if gid is None else gid
