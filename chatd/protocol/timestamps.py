"""RFC 3339 times, in milliseconds since the epoch."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import lru_cache

from chatd.protocol.errors import bad_request

#: ``date-time`` of RFC 3339, section 5.6. ABNF's strings are case-insensitive, so T and Z are.
_DATE_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]"
    r"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))",
    re.ASCII,
)
#: The first and the last millisecond that `format_time` can write: years 1 to 9999.
FIRST, LAST = -62_135_596_800_000, 253_402_300_799_999

#: Seconds that are remembered as text, and as numbers: messages come many in one second.
SECONDS = 64

_EPOCH = date(1970, 1, 1).toordinal()
#: Days in 400 years, after which the Gregorian calendar repeats.
_CYCLE_DAYS = 146_097
_DAY = 86_400


def format_time(ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339 UTC, such as ``2026-11-01T12:00:00.000Z``."""
    second, rest = divmod(ms, 1000)
    return f"{_format_second(second)}.{rest:03d}Z"


@lru_cache(maxsize=SECONDS)
def _format_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]


def parse_time(value: object) -> int:
    """Parse an RFC 3339 ``date-time`` (section 5.6) to milliseconds since the epoch. Raises
    `ChatError` bad_request.

    A fraction is rounded up, so that no message from before the time counts as at or after it. A
    leap second is taken for the second after it. With the year 0, or a zone, the result may lie
    outside of `FIRST` to `LAST`.
    """
    match = _DATE_TIME.fullmatch(value) if isinstance(value, str) else None
    seconds = _seconds(*match.group(1, 2, 3, 4, 5, 6, 8, 9, 10)) if match is not None else None
    if match is None or seconds is None:
        raise bad_request("A time is RFC 3339 with a zone, such as 2026-11-01T12:00:00.000Z.")
    fraction = match[7] or ""
    thousandths, rest = int(fraction[:3].ljust(3, "0")), fraction[3:].strip("0")
    return seconds * 1000 + thousandths + bool(rest)


@lru_cache(maxsize=SECONDS)
def _seconds(*parts: str | None) -> int | None:
    """Whole seconds since the epoch of year, month, day, hour, minute, second, and the sign, hours
    and minutes of a zone; None for a day or a leap second that does not exist."""
    year, month, day, hour, minute, second = (int(part or 0) for part in parts[:6])
    sign, *zone = parts[6:]
    # Python has no year 0; the year 400 has the same calendar
    early = _CYCLE_DAYS if year == 0 else 0
    try:
        days = date(year or 400, month, day).toordinal() - early - _EPOCH
    except ValueError:
        return None
    offset = int(zone[0] or 0) * 3600 + int(zone[1] or 0) * 60
    seconds = days * _DAY + hour * 3600 + minute * 60 + second
    seconds += offset if sign == "-" else -offset
    if second == 60 and not _ends_month(seconds):
        return None
    return seconds


def _ends_month(seconds: int) -> bool:
    """Whether a month of UTC begins at ``seconds``: leap seconds only come right before that (RFC
    3339, section 5.7)."""
    days, rest = divmod(seconds, _DAY)
    ordinal = (days + _EPOCH - 1) % _CYCLE_DAYS + 1
    return rest == 0 and date.fromordinal(ordinal).day == 1
