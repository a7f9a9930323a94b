"""What a client that has missed presence news believes about who is in its room.

When the client reads again it is told the difference. It may not read for as long as it likes, and
each second other members may come and go; so what was believed is kept for a few groups of clients
and not for each client.
"""

from __future__ import annotations

from itertools import islice
from weakref import ref

from attrs import define, field

from chatd.presence.board import News

#: Groups of clients that are told apart in a room. With one more, the two oldest are joined.
GROUPS = 4
#: Names that groups keep when they are joined, at most. Of others, who were there a thousand names
#: ago, their clients are not told that they have left.
NAMES = 1000


@define(eq=False)
class ListedBefore:
    """A group of clients, each of whose lists of members has all the names of ``sure``, and perhaps
    others of ``before``."""

    sure: frozenset[str]
    before: frozenset[str]
    #: The group that this one was joined to, which stands for its clients, too.
    _joined: ListedBefore | None = field(default=None, init=False)

    def now(self) -> ListedBefore:
        """The group that stands for this one: itself, unless it was joined to another."""
        group = self
        while group._joined is not None:
            group = group._joined
        return group

    def join(self, later: ListedBefore) -> None:
        """Make ``later`` stand for the clients of both groups."""
        more = islice(self.before - later.before, max(0, NAMES - len(later.before)))
        later.before = later.before.union(more)
        later.sure &= self.sure
        self.sure = self.before = frozenset()
        self._joined = later


class MissedNews:
    """The groups of one room, by weak references: a group is kept by the subscriptions that are in
    it, and forgotten with the last of them."""

    def __init__(self) -> None:
        #: The group that has missed most stands first.
        self._groups: list[ref[ListedBefore]] = []
        #: The first news that the last group has missed.
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
