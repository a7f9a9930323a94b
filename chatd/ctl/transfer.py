"""A room's messages as lines of JSON: ``export`` and ``import``."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from unicodedata import normalize

import click
from attrs import define, evolve, field

from chatd.ctl.api import GAP, Away, Failed, MessageTooLarge, room_path
from chatd.ctl.output import as_json
from chatd.ctl.setting import Setting, pass_setting
from chatd.ctl.tokens import mint

T = TypeVar("T")

#: Tries of one message while the node cannot take it now, and seconds between them.
TRIES, AGAIN = 60, 1.0
#: Seconds that the tokens of an import are good for.
TOKEN = 3600
#: Keys in data for a message's own time: the first that is not the application's.
TIMES = ("time", "message_time")


@click.command("export", short_help="Print all that is kept of a room.")
@click.argument("room")
@pass_setting
def export_room(setting: Setting, room: str) -> None:
    """Print all that is kept of a room, oldest first, a JSON object a line."""
    with setting.output.progress() as progress:
        task = progress.add_task(f"Messages of {room}", total=None)
        for number, page in enumerate(setting.api.history(room)):
            if page.gap and number:  # before the first there is nothing that it could lack
                click.echo(GAP, err=True)
            for message in page.messages:
                click.echo(as_json(message))
            progress.advance(task, len(page.messages))


@click.command("import", short_help="Publish what export printed.")
@click.argument("file", type=click.File("rb"))
@click.option("--room", help="Into this room, whatever the file says.")
@click.option("--token-key", type=click.File("rb"), help="In token mode: chatd's HS256 secret.")
@pass_setting
def import_messages(
    setting: Setting, file: BinaryIO, room: str | None, token_key: BinaryIO | None
) -> None:
    """Publish what "export" printed, under the same users and ids, so that it can be repeated: what
    its room has already is left out.

    The time of a message is that of the import; its own is kept in data, as "time". A line that
    is refused is reported, and left out.
    """
    publishing = _Import(setting, room, None if token_key is None else token_key.read())
    count = refused = 0
    with setting.output.progress() as progress:
        task = progress.add_task("Publishing", total=_size(file))
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    publishing.publish(_message(line))
                    count += 1
                except Away as error:  # all that follow would be refused, too
                    raise Away(f"line {number}: {error.message}") from None
                except Failed as error:
                    refused += 1
                    click.echo(f"line {number}: {error.message}", err=True)
            progress.advance(task, len(line))
    more = {"refused": refused} if refused else {}
    text = f"{count} messages published" + (f", {refused} lines refused" if refused else "")
    setting.output.done(text, published=count, **more)
    if refused:
        raise click.exceptions.Exit(1)


def _size(file: BinaryIO) -> int | None:
    path = Path(str(file.name))
    return path.stat().st_size if path.is_file() else None


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    needed = ("room", "id", "user", "text")
    if (
        not isinstance(message, dict)
        or any(type(message.get(key)) is not str for key in needed)
        or not isinstance(message.get("data", {}), dict)
    ):
        raise Failed("this is no message of an export")
    return message


def _dated(message: dict[str, Any]) -> dict[str, Any]:
    """The data of a message, with its own time under the first of `TIMES` that is not taken."""
    data: dict[str, Any] = message.get("data", {})
    free = next((key for key in TIMES if key not in data), None)
    return {free: message["time"], **data} if free and "time" in message else data


@define(eq=False)
class _Kept:
    """What a room had before the import, up to ``cursor``: how often each message."""

    cursor: str
    messages: Counter[bytes] = field(factory=Counter, init=False)

    def takes(self, key: bytes) -> bool:
        """Whether the room had the message; each counts for one line."""
        found = self.messages[key] > 0
        self.messages[key] -= found
        return found


@define(eq=False)
class _Import:
    """Publishes messages into ``room``, or each into its own. A room is read first: a node knows a
    repeat by itself among the newest 1,000 messages only, and to look further back for each one
    would be much work for it. ``secret`` signs tokens, in token mode."""

    setting: Setting
    room: str | None
    secret: bytes | None
    _kept: dict[str, _Kept] = field(factory=dict, init=False)

    def publish(self, message: dict[str, Any]) -> None:
        """Publish one message that its room does not have, without its own time if it would be too
        large with that."""
        room, user = self.room or message["room"], message["user"]
        kept = self._kept.get(room)
        if kept is None:
            kept = self._kept[room] = _patiently(lambda _: self._read(room, user))
        if kept.takes(_key(message)):
            return
        try:
            self._post(message, _dated(message), room, kept.cursor)
        except MessageTooLarge:
            self._post(message, message.get("data", {}), room, kept.cursor)

    def _read(self, room: str, user: str) -> _Kept:
        """What ``room`` has, as ``user`` may read it."""
        api = evolve(self.setting.api, token=self._token(user) or self.setting.api.token)
        kept = _Kept(api.page(room, last="0", username=user).cursor)
        for messages in api.past(room, kept.cursor, username=user):
            kept.messages.update(map(_key, messages))
        return kept

    def _post(self, message: dict[str, Any], data: dict[str, Any], room: str, start: str) -> None:
        """Publish one message with ``data``. Where that is tried again, it may have been stored
        since the cursor ``start``."""
        user = message["user"]
        body = {"text": message["text"], "id": message["id"]} | ({"data": data} if data else {})
        path, query, token = f"{room_path(room)}/messages", {"username": user}, self._token(user)

        def post(again: bool) -> None:
            sent = {**body, "after": start} if again else body
            self.setting.api.json("POST", path, body=sent, query=query, token=token)

        _patiently(post)

    def _token(self, user: str) -> str:
        if self.secret is None:
            return ""
        return mint(self.secret, {"sub": user, "exp": int(time.time()) + TOKEN})


def _key(message: dict[str, Any]) -> bytes:
    """Stands for the user, the id and the text of a message; chatd keeps names in NFC."""
    told = [normalize("NFC", message["user"]), message["id"], message["text"]]
    return blake2b(json.dumps(told).encode(), digest_size=16).digest()


def _patiently(ask: Callable[[bool], T]) -> T:
    """The result of ``ask``, which is called again while the node cannot do it now; it is told
    whether it is again."""
    for number in range(TRIES - 1):
        try:
            return ask(number > 0)
        except Away:
            time.sleep(AGAIN)
    return ask(TRIES > 1)


COMMANDS = (export_room, import_messages)
