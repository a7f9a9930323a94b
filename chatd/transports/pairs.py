"""Parameters of URLs and forms: ``application/x-www-form-urlencoded``.

As in the WHATWG URL standard (section 5.1), only ``&`` separates pairs, and ``;`` does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import frozen

from chatd.protocol.errors import bad_request
from chatd.transports.percent import unquoted

#: Pairs in a query or a form, at most.
MAX_PAIRS = 100


@frozen
class Pairs:
    """Values by name. If a name is given twice, the first value counts."""

    _values: dict[str, str]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Pairs:
        """Keep the first value of each name."""
        values: dict[str, str] = {}
        for name, value in pairs:
            values.setdefault(name, value)
        return cls(values)

    @classmethod
    def parse(cls, raw: bytes) -> Pairs:
        """Parse ``a=b&c=d``. Raises `ChatError` bad_request for more than `MAX_PAIRS`."""
        text = raw.decode("utf-8", "surrogateescape")
        if text.count("&") >= MAX_PAIRS:
            raise bad_request(f"At most {MAX_PAIRS} parameters.")
        return cls.of(_split(text))

    def get(self, name: str) -> str | None:
        """The value of ``name``, None if there is none. Raises `ChatError` bad_request if it is not
        UTF-8."""
        value = self._values.get(name)
        if value is None or value.isascii():
            return value
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise bad_request(f"The parameter {name} is not UTF-8.")
        return value


def _split(text: str) -> Iterator[tuple[str, str]]:
    """The pairs of ``text``; of the empty ones, none."""
    for pair in filter(None, text.split("&")):
        name, _, value = pair.replace("+", " ").partition("=")
        yield unquoted(name), unquoted(value)
