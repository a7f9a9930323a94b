"""A room's messages as lines of JSON: ``export`` and ``import``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from chatd.ctl.api import Away, Failed, room_path
from chatd.ctl.setting import Setting, pass_setting
from chatd.ctl.tokens import mint

#: Tries of one message while the node cannot take it now, and seconds between them.
TRIES, AGAIN = 60, 1.0
#: Seconds that the tokens of an import are good for.
TOKEN = 3600


@click.command("export")
@click.argument("room")
@pass_setting
def export_room(setting: Setting, room: str) -> None:
    """Print all that is kept of a room, oldest first, a JSON object a line."""
    with setting.output.progress() as progress:
        task = progress.add_task(f"Messages of {room}", total=None)
        for page in setting.api.history(room):
            for message in page.messages:
                click.echo(json.dumps(message, ensure_ascii=False))
            progress.advance(task, len(page.messages))


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--room", help="Into this room, whatever the file says.")
@click.option("--token-key", type=click.File("rb"), help="In token mode: chatd's HS256 secret.")
@pass_setting
def import_messages(
    setting: Setting, file: BinaryIO, room: str | None, token_key: BinaryIO | None
) -> None:
    """Publish what ``export`` printed, under the same users and ids, so that it can be repeated.

    The time of a message is that of the import; its own is kept in data, as "time".
    """
    secret = None if token_key is None else token_key.read()
    count = 0
    with setting.output.progress() as progress:
        task = progress.add_task("Publishing", total=_size(file))
        for number, line in enumerate(file, 1):
            if line.strip():
                _publish(setting, _message(line, number), room, secret)
                count += 1
            progress.advance(task, len(line))
    setting.output.done(f"{count} messages published", published=count)


def _size(file: BinaryIO) -> int | None:
    path = Path(str(file.name))
    return path.stat().st_size if path.is_file() else None


def _message(line: bytes, number: int) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    needed = ("room", "id", "user", "text")
    if not isinstance(message, dict) or any(type(message.get(key)) is not str for key in needed):
        raise Failed(f"line {number} is no message of an export")
    return message


def _publish(
    setting: Setting, message: dict[str, Any], room: str | None, secret: bytes | None
) -> None:
    """Publish one message, and again while the node cannot take it now."""
    user = message["user"]
    data = {"time": message["time"], **message.get("data", {})} if "time" in message else None
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
