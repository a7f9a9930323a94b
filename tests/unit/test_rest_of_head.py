"""The rest of a malformed head, in which the Origin is looked for."""

from __future__ import annotations

import re
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from chatd.transports.http import head
from chatd.transports.http.head import READ_ON, RestOfHead

LINES = st.sampled_from(
    [b"a: b\r\n", b"Origin: http://x\r\n", b"origin:y\n", b"\r\n", b"\n", b"\r"]
)


@given(st.lists(LINES).map(b"".join), st.integers(1, 5))
def test_the_pieces_in_which_it_comes_change_nothing(text: bytes, size: int) -> None:
    whole = RestOfHead()
    ended = whole.feed(text)
    rest = RestOfHead()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert any(map(rest.feed, pieces)) == ended
    assert rest.origin == whole.origin


class Counted:
    """An expression, and how many bytes it has looked at."""

    def __init__(self, expression: re.Pattern[bytes]) -> None:
        self._expression = expression
        self.looked_at = 0

    def search(self, text: bytearray, start: int) -> re.Match[bytes] | None:
        self.looked_at += len(text) - start
        return self._expression.search(text, start)


def test_what_was_searched_is_not_searched_again() -> None:
    with mock.patch.object(head, "_END", Counted(head._END)) as counted:
        rest = RestOfHead()
        assert not any(rest.feed(b"x") for _ in range(READ_ON - 1))
        assert rest.feed(b"\n\r\n")
    assert counted.looked_at < 4 * READ_ON
