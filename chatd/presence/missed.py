"""What the clients of a room have in their lists of members, of those who have missed news.

A client that does not read may do so for as long as it likes, and each second may bring other
members. So the lists are kept for a few groups of clients, and not for each.
"""

from __future__ import annotations

from itertools import islice
from weakref import ref

from attrs import define, field

from chatd.presence.board import News

#: Groups of clients of a room that may have different lists.
GROUPS = 4
#: Names that the list of a group may hold, if it is not of those who missed the same news first.
#: Clients of such a group need not be told that others have left, who were there a thousand names
#: ago.
NAMES = 1000


@define(eq=False)
class ListedBefore:
    """What a client's list of members is like: it has the names ``sure``, and perhaps others of
    ``before``."""

    sure: frozenset[str]
    before: frozenset[str]
    #: The group that this one has joined, whose list it has since then.
    _joined: ListedBefore | None = field(default=None, init=False)

    def now(self) -> ListedBefore:
        """The same, or the group that has been joined."""
        group = self
        while group._joined is not None:
            group = group._joined
        return group

    def join(self, later: ListedBefore) -> None:
        """Have the clients of this group and of ``later`` in that one."""
        more = islice(self.before - later.before, max(0, NAMES - len(later.before)))
        later.before = later.before.union(more)
        later.sure &= self.sure
        self.sure = self.before = frozenset()
        self._joined = later


class MissedNews:
    """The groups of one room. A group that no client is in is forgotten."""

    def __init__(self) -> None:
        #: Who has missed most stands first.
        self._groups: list[ref[ListedBefore]] = []
        #: What the last group has missed first.
        self._first: News | None = None

    def begin(self, news: News) -> ListedBefore:
        """The group of a client that misses ``news``, and has missed none before."""
        last = self._groups[-1]() if self._first is news else None
        if last is not None:
            return last
        groups = [group for known in self._groups if (group := known()) is not None]
        groups.append(last := ListedBefore(news.sure, news.before))
        if len(groups) > GROUPS:
            groups[0].join(groups[1])
            del groups[0]
        self._first, self._groups = news, [ref(group) for group in groups]
        return last
