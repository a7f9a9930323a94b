"""A room's messages as lines of JSON: ``export`` and ``import``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from chatd.ctl.api import GAP, Away, Failed, MessageTooLarge, room_path
from chatd.ctl.output import as_json
from chatd.ctl.setting import Setting, pass_setting
from chatd.ctl.tokens import mint

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
    """Publish what "export" printed, under the same users and ids, so that it can be repeated.

    The time of a message is that of the import; its own is kept in data, as "time". A line that
    is refused is reported, and left out.
    """
    secret = None if token_key is None else token_key.read()
    count = refused = 0
    with setting.output.progress() as progress:
        task = progress.add_task("Publishing", total=_size(file))
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    _publish(setting, _message(line), room, secret)
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


def _publish(
    setting: Setting, message: dict[str, Any], room: str | None, secret: bytes | None
) -> None:
    """Publish one message, without its own time if it would be too large with that."""
    try:
        _post(setting, message, _dated(message), room, secret)
    except MessageTooLarge:
        _post(setting, message, message.get("data", {}), room, secret)


def _post(
    setting: Setting,
    message: dict[str, Any],
    data: dict[str, Any],
    room: str | None,
    secret: bytes | None,
) -> None:
    """Publish one message with ``data``, and again while the node cannot take it now."""
    user = message["user"]
    body = {"text": message["text"], "id": message["id"]} | ({"data": data} if data else {})
    token = "" if secret is None else mint(secret, {"sub": user, "exp": int(time.time()) + TOKEN})
    path = f"{room_path(room or message['room'])}/messages"
    for last in _tries():
        try:
            setting.api.json("POST", path, body=body, query={"username": user}, token=token)
        except Away:
            if last:
                raise
            time.sleep(AGAIN)
        else:
            return


def _tries() -> Iterator[bool]:
    """`TRIES` times whether it is the last."""
    return (number == TRIES for number in range(1, TRIES + 1))


COMMANDS = (export_room, import_messages)
