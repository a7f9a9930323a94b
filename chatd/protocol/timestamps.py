"""RFC 3339 times, in milliseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime

from chatd.protocol.errors import bad_request


def format_time(ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339 UTC, such as ``2026-11-01T12:00:00.000Z``."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC).isoformat()[:19]}.{ms % 1000:03d}Z"


def parse_time(value: object) -> int:
    """RFC 3339 to milliseconds since the epoch; a zone is required."""
    if isinstance(value, str) and len(value) <= 40:
        try:
            # a "+" of the zone that a URL turned into a space
            moment = datetime.fromisoformat(value.replace(" ", "+") if "T" in value else value)
            if moment.tzinfo is not None:
                ms = round(moment.timestamp() * 1000)
                format_time(ms)  # a zone may lead out of the years that can be written
                return ms
        except (ValueError, OverflowError):
            pass
    raise bad_request("A time is RFC 3339 with a zone, such as 2026-11-01T12:00:00.000Z.")
