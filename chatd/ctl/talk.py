"""Messages: ``send`` and ``tail``."""

from __future__ import annotations

import sys
import time

import click

from chatd.ctl.api import GAP, WAIT, Away, Failed, room_path
from chatd.ctl.setting import Setting, pass_setting

#: Seconds between tries while the node does not answer, at first and at most.
AGAIN, SLOWEST = 0.5, 15.0


@click.command()
@click.argument("room")
@click.argument("text", required=False)
@click.option("--user", default="chatctl", show_default=True, help="Who says it, in open mode.")
@click.option("--id", "id_", help="Id of the message; the same one is stored once.")
@pass_setting
def send(setting: Setting, room: str, text: str | None, user: str, id_: str | None) -> None:
    """Say TEXT in a room, or what standard input holds."""
    said = _read() if text is None else text
    body = {"text": said} | ({"id": id_} if id_ else {})
    path = f"{room_path(room)}/messages"
    stored = setting.api.json("POST", path, body=body, query={"username": user})
    setting.output.done(stored["id"], room=room, **stored)


def _read() -> str:
    """What standard input holds. `Failed` if that is no text, or nothing: a command before this one
    may have failed, or there is no input."""
    try:
        said = sys.stdin.read().rstrip("\n")
    except UnicodeDecodeError as error:
        raise Failed(f"standard input is no text in {error.encoding}") from None
    if not said:
        raise Failed(
            "There is nothing to send: standard input is empty. Give the text, or '' for"
            " an empty message."
        )
    return said


@click.command()
@click.argument("room")
@click.option("-n", "--lines", type=click.IntRange(0, 1000), default=10, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on, also over restarts of chatd.")
@click.option("--after", metavar="CURSOR", help="Begin after this cursor instead.")
@pass_setting
def tail(setting: Setting, room: str, lines: int, follow: bool, after: str | None) -> None:
    """Print the newest messages of a room. The last line on standard error is the cursor to go on
    from; the last but one if it ends with an error."""
    query = {"after": after, "limit": "1000"} if after else {"last": str(lines)}
    cursor, patience = after or "", AGAIN
    try:
        while True:
            try:
                page = setting.api.page(room, wait=WAIT if follow and cursor else 0, **query)
            except Away:
                if not follow or not cursor:
                    raise
                time.sleep(patience)
                patience = min(2 * patience, SLOWEST)
                continue
            patience = AGAIN
            if page.gap:
                click.echo(GAP, err=True)
            for message in page.messages:
                setting.output.message(message)
            more = after and not follow and page.messages
            cursor, query = page.cursor, {"after": page.cursor, "limit": "1000"}
            if not follow and not more:
                break
    except KeyboardInterrupt:
        pass
    except Failed:  # such as a token that has expired
        if cursor != (after or ""):
            click.echo(f"cursor: {cursor}", err=True)
        raise
    click.echo(f"cursor: {cursor}", err=True)


COMMANDS = (send, tail)
