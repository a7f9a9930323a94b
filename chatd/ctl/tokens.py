"""``token``: a token for trying things out."""

from __future__ import annotations

import time
import warnings
from typing import Any, BinaryIO

import click

from chatd.ctl.api import Failed
from chatd.ctl.setting import Setting, pass_setting


def mint(secret: bytes, claims: dict[str, Any]) -> str:
    """A token signed with an HS256 secret."""
    # take a sixth of a start, for which no other command is to wait
    from joserfc import jwt
    from joserfc.errors import JoseError, SecurityWarning
    from joserfc.jwk import OctKey

    if secret.lstrip().startswith((b"-----BEGIN", b"{")):
        raise Failed(
            "that file holds no HS256 secret; only who has the private key can make tokens"
        )
    try:
        with warnings.catch_warnings():
            # `weakness` says it in better words
            warnings.simplefilter("ignore", SecurityWarning)
            return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(_all_of(secret)))
    except (JoseError, ValueError) as error:
        raise Failed(f"no token can be made with that secret: {error}") from None


def _all_of(secret: bytes) -> bytes:
    """As chatd reads it: all of the file is the secret, but for one line end."""
    return secret.removesuffix(b"\n").removesuffix(b"\r")


def weakness(secret: bytes) -> str | None:
    """What is to be said of a ``secret`` that can be guessed. chatd says it, too."""
    from chatd.access.jwk import GOOD_SECRET_BYTES  # takes its time to import, too

    if len(_all_of(secret)) >= GOOD_SECRET_BYTES:
        return None
    size = f"a secret of less than {GOOD_SECRET_BYTES} bytes"
    return f"{size}; anyone with one token can try to guess it"


def check_user(user: str) -> str:
    """``user``, if somebody can have that name. Raises `click.BadParameter`."""
    # takes its time to import, too
    from chatd.protocol.errors import ChatError
    from chatd.protocol.names import user_name

    try:
        return user_name(user)
    except ChatError as error:
        raise click.BadParameter(error.text, param_hint="USER") from None


@click.command()
@click.argument("user")
@click.option("--key", type=click.File("rb"), required=True, help="File of chatd's --token-key.")
@click.option("--room", "rooms", multiple=True, help="Only for this room (prefix: NAME*).")
@click.option("--admin", is_flag=True, help="May administer.")
@click.option("--minutes", type=click.IntRange(1), default=60, show_default=True)
@click.option("--audience", help="aud, where chatd asks for one.")
@click.option("--issuer", help="iss, where chatd asks for one.")
@pass_setting
def token(
    setting: Setting,
    user: str,
    key: BinaryIO,
    rooms: tuple[str, ...],
    admin: bool,
    minutes: int,
    audience: str | None,
    issuer: str | None,
) -> None:
    """Print a token that says its bearer is USER."""
    named = check_user(user)
    claims: dict[str, Any] = {"sub": named, "exp": int(time.time()) + 60 * minutes}
    claims |= {"rooms": list(rooms)} if rooms else {}
    claims |= {"admin": True} if admin else {}
    claims |= {"aud": audience} if audience else {}
    claims |= {"iss": issuer} if issuer else {}
    secret = key.read()
    made = mint(secret, claims)
    if weak := weakness(secret):
        click.echo(f"chatctl: {key.name} holds {weak}", err=True)
    setting.output.done(made, token=made, claims=claims)


COMMANDS = (token,)
