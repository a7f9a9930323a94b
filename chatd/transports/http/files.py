"""Static files: compressed once, and not sent again to clients that have them (RFC 9110, sections
8.8.3, 12.5.3 and 13.1.2)."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from functools import cache, cached_property
from hashlib import sha256

import brotli
from attrs import frozen

from chatd.transports.http.call import Call, Reply

_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII | re.IGNORECASE)
#: Codings in an Accept-Encoding, and parameters of each, that are looked at.
CODINGS = 100
PARAMETERS = 4
_TAG = re.compile(r'(?:W/)?("[^"]*")')


@frozen
class _Variant:
    """A file in one content coding; ``etag`` is its own, because its bytes are."""

    coding: str
    content: bytes
    etag: str


@cache
def _coded(content: bytes) -> tuple[tuple[str, bytes], ...]:
    # cached for all nodes of a process; brotli's highest quality takes twice as long for 3 %
    return (
        ("br", brotli.compress(content, mode=brotli.MODE_TEXT, quality=10)),
        ("gzip", gzip.compress(content, mtime=0)),
    )


class File:
    """One file, in every coding that makes it shorter."""

    def __init__(self, content: bytes, type: str, headers: Mapping[str, str]) -> None:
        self._digest = sha256(content).hexdigest()[:20]
        self._type = type
        self._headers = headers
        self._plain = _Variant("identity", content, f'"{self._digest}"')

    @cached_property
    def _variants(self) -> list[_Variant]:
        """In the order of preference. Made when first asked for: all files at once would be a fifth
        of a start, and one costs some milliseconds."""
        content = self._plain.content
        return [
            *(
                _Variant(coding, short, f'"{self._digest}-{coding}"')
                for coding, short in _coded(content)
                if len(short) < len(content)
            ),
            self._plain,
        ]

    def reply(self, call: Call, cache: str) -> Reply:
        """The answer to a GET. ``cache`` is its Cache-Control."""
        variant = self._fitting(call.header("accept-encoding"))
        headers = {
            **self._headers,
            "Cache-Control": cache,
            "ETag": variant.etag,
            "Vary": "Accept-Encoding",
        }
        if has_it(call.header("if-none-match"), variant.etag):
            return Reply(304, b"", self._type, headers)
        if variant is not self._plain:
            headers["Content-Encoding"] = variant.coding
        return Reply(200, variant.content, self._type, headers)

    def _fitting(self, accepted: str | None) -> _Variant:
        """The variant with the highest quality; the plain one if none is acceptable."""
        qualities = qualities_of(accepted)
        best, liked = self._plain, 0.0
        for variant in self._variants:
            quality = _quality(variant.coding, qualities)
            if quality > liked:
                best, liked = variant, quality
        return best


def qualities_of(accepted: str | None) -> dict[str, float]:
    """The qualities, from 0 (not acceptable) to 1, that the header Accept-Encoding gives to content
    codings; only the first `CODINGS` of them count."""
    qualities: dict[str, float] = {}
    for part in (accepted or "").lower().split(",", CODINGS)[:CODINGS]:
        pieces = part.split(";", PARAMETERS + 1)[: PARAMETERS + 1]
        name, *parameters = (piece.strip() for piece in pieces)
        given = [match[1] for one in parameters if (match := _QUALITY.fullmatch(one))]
        qualities[name.removeprefix("x-")] = float(given[0]) if given else float(not parameters)
    return qualities


def _quality(coding: str, qualities: Mapping[str, float]) -> float:
    """A coding that is not named has the quality of ``*``, or else 0; identity, a very low one."""
    default = qualities.get("*", 0.001 if coding == "identity" else 0.0)
    return qualities.get(coding, default)


def has_it(if_none_match: str | None, etag: str) -> bool:
    """Whether the header If-None-Match (``*``, or a list of entity tags) matches ``etag`` in a weak
    comparison."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in _TAG.findall(if_none_match)
