"""Requests of a polling session that are sent again by the browser itself.

Chromium sends a request again, a ``POST`` too, if the connection that it came by was used before
and breaks before an answer comes (``HttpNetworkTransaction::ShouldResendRequest``). The page is not
told. But the answer to a poll, which was lost, had messages, and a post's packets would be taken
twice.
"""

from __future__ import annotations


class Timestamps:
    """The ``t`` of a session's requests, by which stock clients make the URL of each request one
    that was never asked for (Engine.IO, ``timestampRequests``). ``opening`` is that of the first
    ``GET``."""

    def __init__(self, opening: str | None) -> None:
        # hashes, for a query may be long
        self._latest = {"GET": hash(opening)}
        #: Whether the client makes a new one for each request: some have the same for all, or none.
        self._vary = False

    def repeats(self, method: str, timestamp: str | None) -> bool:
        """Whether a request is the latest of its ``method`` once more."""
        stamp = hash(timestamp)
        latest = self._latest.get(method, stamp)
        known, self._latest[method] = method in self._latest, stamp
        self._vary = self._vary or stamp != latest
        return self._vary and known and timestamp is not None and stamp == latest
