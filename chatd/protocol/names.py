"""Checking names of rooms and users, and message ids (protocol, "Terms")."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from idna.core import valid_contextj
from precis_i18n import get_profile

from chatd.protocol.errors import bad_request

ROOM_CHARACTERS = 100
USER_CHARACTERS = 64
#: Bytes of UTF-8: a room's name is part of short strings of AMQP, of 255 bytes at most.
NAME_BYTES = 200

_ID = re.compile(r"[\x21-\x7e]{1,64}", re.ASCII)

#: Names of rooms that can only be good: ASCII is in NFC, short, and there is no dot in front.
_USUAL_ROOM = re.compile(rf"[0-9A-Za-z_][0-9A-Za-z_.:@-]{{,{ROOM_CHARACTERS - 1}}}", re.ASCII)
#: Names that need no look at Unicode's tables: most.
_PLAIN_ROOM = re.compile(r"[0-9A-Za-z_.:@-]+", re.ASCII)
_PLAIN_USER = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*", re.ASCII)

#: Letters, marks and decimal digits (Unicode, general categories).
_WORD = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd"})
_JOINERS = "\u200c\u200d"
#: What is said of characters that nobody sees, and that are common all the same.
_UNSEEN = {" ": "a space", "\t": "a tab", "\r": "a line end", "\n": "a line end"}
#: Invisible letters and marks: Default_Ignorable_Code_Point in Unicode's
#: DerivedCoreProperties.txt. All other characters with this property are of category C.
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
#: The string class of nicknames (RFC 8266; RFC 8264, section 4.3). The nickname profile itself is
#: not used, because it folds compatibility characters.
_FREE_FORM = get_profile("FreeFormClass")


def room_name(value: object, legacy: bool = False) -> str:
    """Check a room's name and return it in NFC. ``legacy`` turns spaces into ``_``, for the
    original's clients. Raises `ChatError` bad_request."""
    if isinstance(value, str) and _USUAL_ROOM.fullmatch(value):
        return value
    called = "roomname" if legacy else "room"
    name = _normalised(value, "The room name", called, ROOM_CHARACTERS, legacy)
    if not _PLAIN_ROOM.fullmatch(name):
        _check_room(name)
    if name in (".", ".."):
        raise bad_request(f"{name} is a part of every path, so no room can be called that.")
    _check_bytes(name, "The room name")
    return name


def user_name(value: object, legacy: bool = False) -> str:
    """Check a user's name and return it in NFC. ``legacy`` turns spaces into ``_``, for the
    original's clients. Raises `ChatError` bad_request."""
    name = _normalised(value, "The user name", "username", USER_CHARACTERS, legacy)
    if not _PLAIN_USER.fullmatch(name):
        _check_user(name)
    _check_bytes(name, "The user name")
    return name


def message_id(value: object) -> str:
    """Check a message id: 1 to 64 ASCII characters from 0x21 to 0x7E. Raises `ChatError`
    bad_request."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise bad_request("An id is 1 to 64 printable ASCII characters without spaces.")
    return value


def _normalised(value: object, what: str, called: str, characters: int, legacy: bool) -> str:
    """``called`` is the field or parameter that clients give it in."""
    if not isinstance(value, str):
        raise bad_request(f'Give {what[0].lower()}{what[1:]} as a string, called "{called}".')
    if not value:
        raise bad_request(f"{what} is empty.")
    # NFC joins at most three characters into one, so a longer text is too long in any case
    name = unicodedata.normalize("NFC", value) if len(value) <= 4 * characters else value
    if len(name) > characters:
        raise bad_request(f"{what} is longer than {characters} characters.")
    return name.replace(" ", "_") if legacy else name


def _check_bytes(name: str, what: str) -> None:
    if len(name.encode("utf-8")) > NAME_BYTES:
        raise bad_request(f"{what} is longer than {NAME_BYTES} bytes.")


# cached, because the same names come with every message; bounded, because anyone can send others
@lru_cache(maxsize=4096)
def _check_room(name: str) -> None:
    if unicodedata.category(name[0]).startswith("M"):
        raise bad_request("The room name begins with a mark, which belongs to a letter before it.")
    for at, c in enumerate(name):
        if c in _JOINERS:
            fits = _joins(name, at)
        else:
            fits = c in "_.:@-" or (unicodedata.category(c) in _WORD and not _IGNORABLE.match(c))
        if not fits:
            raise bad_request(
                "The room name may hold letters, marks, digits and _ . : @ - only, not"
                f" {_shown(c)}."
            )


@lru_cache(maxsize=4096)
def _check_user(name: str) -> None:
    if "  " in name or name != name.strip(" "):
        raise bad_request("The user name may hold single spaces between other characters only.")
    try:
        _FREE_FORM.enforce(name)
    except UnicodeEncodeError as e:
        raise bad_request(f"The user name may not hold {_shown(name[e.start])}.") from None
    for c in name:
        if c != " " and unicodedata.category(c) == "Zs":
            raise bad_request(f"The user name may not hold {_shown(c)}, only plain spaces.")


def _joins(name: str, at: int) -> bool:
    """Whether the joiner at index ``at`` may stand there (RFC 5892, appendix A)."""
    try:
        return valid_contextj(name, at)
    except ValueError:  # a neighbour is not assigned in Unicode
        return False


def _shown(c: str) -> str:
    """The character ``c`` for whoever typed it: itself where it can be seen, else its name."""
    code = f"U+{ord(c):04X}"
    if c in _UNSEEN:
        return f"{_UNSEEN[c]} ({code})"
    if unicodedata.category(c)[0] in "LNPS" and not _IGNORABLE.match(c):
        return f'"{c}" ({code})'
    name = unicodedata.name(c, "")
    return f"{code} ({name})" if name else code
