"""Bytes cut to pieces, as a network may."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import strategies as st


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` in pieces, cut at ``places`` (modulo its length)."""
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(at)]


#: Text that looks like the beginning of JSON, so that random bytes get far.
JSONISH = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"{",
                b"}",
                b'"',
                b"\\",
                b'{"a":"}"}',
                b"\n",
                b" ",
                b'\\"',
                b"[",
                b"\\\\",
                b"\xef\xbb\xbf",
            ]
        ),
        st.binary(max_size=4),
        st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=3).map(
            lambda value: json.dumps(value).encode()
        ),
    ),
    max_size=30,
).map(b"".join)
