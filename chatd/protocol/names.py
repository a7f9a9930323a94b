"""Names of rooms and users, and message ids, as clients give them."""

from __future__ import annotations

import re
import unicodedata

from chatd.protocol.errors import bad_request

ROOM_CHARACTERS = 100

ROOM_BYTES = 200

USER_CHARACTERS = 64

_ID = re.compile(r"[\x21-\x7e]{1,64}", re.ASCII)


def _name(value: object, what: str, extra: str, characters: int, legacy: bool) -> str:
    if not isinstance(value, str) or not value:
        raise bad_request(f"Give {what} as a string.")
    if len(value) > 4 * characters:
        raise bad_request(f"{what} is longer than {characters} characters.")
    name = unicodedata.normalize("NFC", value)
    if legacy:
        name = name.replace(" ", "_")
    if len(name) > characters:
        raise bad_request(f"{what} is longer than {characters} characters.")
    for c in name:
        if c not in extra and unicodedata.category(c) not in _WORD:
            raise bad_request(f"{what} may hold letters, digits and {' '.join(extra)} only.")
    return name


_WORD = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nd"})


def room_name(value: object, legacy: bool = False) -> str:
    """A room's name in NFC; ``legacy`` turns spaces into ``_``, as the original did."""
    name = _name(value, "The room name", "_.:@-", ROOM_CHARACTERS, legacy)
    if len(name.encode("utf-8")) > ROOM_BYTES:
        raise bad_request(f"The room name is longer than {ROOM_BYTES} bytes.")
    return name


def user_name(value: object, legacy: bool = False) -> str:
    """A user's name in NFC."""
    return _name(value, "The user name", "_.:@-+", USER_CHARACTERS, legacy)


def message_id(value: object) -> str:
    """An idempotency key: 1 to 64 ASCII characters from 0x21 to 0x7E."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise bad_request("An id is 1 to 64 printable ASCII characters without spaces.")
    return value
