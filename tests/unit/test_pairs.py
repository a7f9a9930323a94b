"""Parameters of URLs and forms: what urllib.parse makes of them, in time linear in their length."""

from __future__ import annotations

from unittest import mock
from urllib.parse import parse_qsl, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatd.protocol.errors import ChatError
from chatd.transports import percent
from chatd.transports.pairs import MAX_PAIRS, Pairs
from chatd.transports.percent import unquoted_bytes

#: What may be next to one another: whole and broken encodings, parts of UTF-8, what separates.
PIECES = st.sampled_from(
    (
        *(b"%", b"%4", b"%41", b"%c3", b"%C3%A9", b"%a9", b"%E2%82", b"%zz", b"%00", b"%2B"),
        *(b"%26", b"+", b"=", b"&", b";", b"a", b"4", b"\xc3", b"\xa9", b"\xff", b"\\", b"\n"),
    )
)
RAW = st.lists(PIECES | st.binary(max_size=3), max_size=30).map(b"".join)


@given(RAW)
@example(b"a=%C3\xa9&b=%C3%A9&c=\xc3%A9&d=%%41&=&&a")
def test_as_urllib_has_it(raw: bytes) -> None:
    text = raw.decode("utf-8", "surrogateescape")
    pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    assert Pairs.parse(raw) == Pairs.of(pairs)
    assert unquoted_bytes(raw) == unquote_to_bytes(raw)


@pytest.mark.parametrize("junk", [b"%", b"%4", b"%zz", "%é".encode()])
def test_a_percent_that_encodes_nothing_costs_nothing(junk: bytes) -> None:
    """Nothing is done for each of them: urllib raises and catches an error, or splits the text."""
    raw = b"text=" + junk * 1000
    with mock.patch.object(percent, "_bytes", side_effect=AssertionError):
        assert Pairs.parse(raw).get("text") == (junk * 1000).decode()
        assert unquoted_bytes(raw) == raw


def test_only_so_many() -> None:
    assert Pairs.parse(b"&" * (MAX_PAIRS - 1)) == Pairs({})
    with pytest.raises(ChatError, match=str(MAX_PAIRS)):
        Pairs.parse(b"&" * MAX_PAIRS)
