"""Polls that are usual, or nearly: those that go past twisted.web are answered as it answers."""

from __future__ import annotations

from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.polls import ComparedNode

_USUAL = b"GET /rooms/lobby/messages?after=%s&wait=9 HTTP/1.1\r\nHost: localhost\r\n\r\n"
_odd = st.sampled_from([b"", b" ", b"\t", b"\0", b"\r", b"\n", b"\xe9", b"%", b"%zz", b"+", b":"])
_cursors = st.sampled_from([b"NOW", b"BEFORE", b"NOW", b"BEFORE", b"e:1", b"%4eOW", b"", b"x"])
_harmless = [b"limit=1", b"limit=5000", b"username=ann", b"username=a%20b", b"token=a.b.c", b"a=b"]
_parameters = st.one_of(
    st.sampled_from(_harmless),
    st.sampled_from([b"%61fter=NOW", b"%61fter=BEFORE", b"after=NOW", b"after=BEFORE"]),
    st.sampled_from([b"wait=0", b"wait=0.2", b"wait=", b"%77ait=9", b"limit=0", b"limit=x"]),
    st.sampled_from([b"last=1", b"before=NOW", b"since=x", b"username=", b"username=%ff"]),
    st.sampled_from([b"", b"x", b"after=NOW=", b";"]),
    _odd,
)
_plain = st.sampled_from(
    [
        *(b"Connection: keep-alive", b"connection:Keep-Alive", b"Accept: */*", b"Cookie: a=b; c=d"),
        *(b"Origin: http://localhost", b"X-Forwarded-For: 192.0.2.1", b"DNT:", b"A:\t", b"Te: x"),
        *(b"Authorization: Bearer a.b.c", b"Range: bytes=0-1", b"If-None-Match: *"),
    ]
)
_lines = st.one_of(
    st.sampled_from(
        [
            *(b"Connection: close", b"Connection: a, close", b"Origin: https://a.example"),
            *(b"Origin: null", b"Origin:", b"Sec-Fetch-Site: cross-site", b"Expect: 100-continue"),
            *(b"Content-Length: 0", b"Content-Length: 5", b"Transfer-Encoding: chunked"),
            *(b"Upgrade: websocket", b"Host: localhost", b"Host:", b"Traceparent: x", b""),
            *(b" folded", b"nocolon", b"a b: c"),
        ]
    ),
    st.builds(b"X-%b: a%bb".__mod__, st.tuples(_odd, _odd)),
)
_rooms = st.sampled_from([b"lobby"] * 12 + [b"lob%62y", b"nowhere", b"a/b", b"lobby/", b"%ff", b""])
_firsts = st.sampled_from([b"GET %s HTTP/1.1"] * 12 + [b"HEAD %s HTTP/1.1", b"GET  %s HTTP/1.0"])


def _few(strategy: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes]]:
    """Mostly none."""
    return st.one_of(st.just([]), st.just([]), st.lists(strategy, min_size=1, max_size=2))


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    """Polls, many of them usual."""
    usual = [b"after=" + draw(_cursors), draw(st.sampled_from([b"wait=5", b"wait=60"]))]
    query = b"&".join(draw(st.permutations(usual + draw(_few(_parameters)))))
    path = b"/rooms/%s/messages?%s" % (draw(_rooms), query)
    lines = [b"Host: localhost", *draw(st.lists(_plain, max_size=2)), *draw(_few(_lines))]
    return b"\r\n".join([draw(_firsts) % path, *lines, b"", b""])


class DifferenceTests(TestCase):
    """What it takes, it answers as twisted.web does."""

    node = ComparedNode()

    @given(st.lists(_requests(), min_size=1, max_size=3))
    def test_the_same_answers(self, requests: list[bytes]) -> None:
        self.node.compare(*requests)

    @given(_requests())
    def test_the_same_answers_to_the_same_again(self, request: bytes) -> None:
        self.node.compare(request, request)

    def test_usual_polls_are_compared(self) -> None:
        """Else all others would say nothing."""
        before = self.node.taken
        answered = self.node.compare(*[_USUAL % b"BEFORE"] * 2)
        self.assertEqual(answered.count(b'"text":"news"'), 2)
        answered = self.node.compare(*[_USUAL % b"NOW"] * 2)
        self.assertEqual(answered.count(b'"text":"news"'), 2)
        self.assertEqual(self.node.taken - before, 4)

    def test_what_looks_like_a_poll_and_is_a_part_of_another_request(self) -> None:
        host = b"Host: localhost\r\n"
        probe = b"GET /healthz HTTP/1.1\r\n%s\r\n" % host
        for first, answers in (
            (b"POST /poll HTTP/1.1\r\n%sContent-Length: 9999\r\n\r\n" % host, 0),
            (b"GET /healthz HTTP/1.1\r\nX-Long: ", 1),
            (b"GET /healthz HTTP/1.1\r\n" + host, 1),
            (probe + b"POST ", 2),
        ):
            answered = self.node.compare(first, _USUAL % b"BEFORE")
            self.assertEqual(answered.count(b"HTTP/1.1 "), answers, first)
            self.assertNotIn(b"news", answered)

    def test_nothing_follows_the_last_request(self) -> None:
        last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answered = self.node.compare(last, _USUAL % b"BEFORE")
        self.assertEqual(answered.count(b"HTTP/1.1"), 1)
