"""``chatctl``: its options, and all its commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from click.shell_completion import get_completion_class

from chatd import __version__
from chatd.ctl import backups, doctor, rooms, talk, tokens, top, transfer
from chatd.ctl.api import ChatdAPI, Failed, why
from chatd.ctl.output import Output
from chatd.ctl.setting import Setting
from chatd.telemetry.standard_output import give_up, open_missing, show_what_cannot_be_written

#: Where a node is that was started without options.
URL = "http://localhost:8081"
#: What an Authorization header can carry after "Bearer".
_SENDABLE = re.compile(rb"[!-~]+")


def read_key(path: str) -> str:
    """The key in a file. What is said of one that cannot be sent never shows it."""
    try:
        key = Path(path).read_bytes().strip()
    except (OSError, ValueError) as error:
        raise Failed(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None
    if not _SENDABLE.fullmatch(key):
        raise Failed(f"{path} holds no key: it is one line of visible ASCII characters")
    return key.decode("ascii")


def check_token(context: click.Context, parameter: click.Parameter, token: str | None) -> Any:
    """``token``, if it can be sent. Raises `click.BadParameter`, which never shows it."""
    if token and not _SENDABLE.fullmatch(token.encode("utf-8", "surrogatepass")):
        raise click.BadParameter("a token is one line of visible ASCII characters")
    return token


def check_url(context: click.Context, parameter: click.Parameter, url: str) -> str:
    """``url``, if a node may be there. Raises `click.BadParameter`."""
    try:
        parts = urlsplit(url)
        # "port" raises ValueError, too
        well = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        well = False
    if not well or not url.isprintable() or " " in url or "@" in parts.netloc:
        # not the URL itself: who writes a password into one finds it in logs
        raise click.BadParameter(f"give the address of chatd, such as {URL}, without a name in it")
    return url


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="chatctl")
@click.option(
    "--url",
    default=URL,
    envvar="CHATCTL_URL",
    show_default=True,
    callback=check_url,
    help="Where chatd is.",
)
@click.option("--admin-key", metavar="FILE", envvar="CHATD_ADMIN_KEY", help="File with the key.")
@click.option(
    "--token", envvar="CHATCTL_TOKEN", callback=check_token, help="A token, in token mode."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def cli(
    context: click.Context, url: str, admin_key: str | None, token: str | None, as_json: bool
) -> None:
    """Look after chatd: its rooms, members, messages, backups and health.

    Exit codes: 0 done; 1 refused, or something is wrong; 2 wrong command line; 3 chatd does not
    answer, or not now; 4 no such room; 5 the key or token does not suffice.
    """
    key = token or (read_key(admin_key) if admin_key else "")
    context.obj = Setting(ChatdAPI(url, key), Output(as_json))


@cli.command(short_help="Print the completion for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion for a shell: chatctl completion bash >>~/.bashrc"""
    kind = get_completion_class(shell)
    assert kind is not None, shell
    click.echo(kind(cli, {}, "chatctl", "_CHATCTL_COMPLETE").source())


for _module in (rooms, talk, top, tokens, transfer, backups, doctor):
    for _command in _module.COMMANDS:
        cli.add_command(_command)


def main() -> None:
    """The console script. A file that cannot be read on, or output that cannot be written, such as
    to a full disk, ends it with one line."""
    open_missing()
    show_what_cannot_be_written()
    try:
        cli(prog_name="chatctl")
    except OSError as error:
        Failed(f"{error.filename or 'output'}: {why(error)}").show()
        give_up()
        raise SystemExit(Failed.exit_code) from None
