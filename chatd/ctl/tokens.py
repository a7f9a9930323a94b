"""``token``: a token for trying things out."""

from __future__ import annotations

import time
from typing import Any, BinaryIO

import click

from chatd.ctl.api import Failed
from chatd.ctl.setting import Setting, pass_setting


def mint(secret: bytes, claims: dict[str, Any]) -> str:
    """A token signed with an HS256 secret."""
    # take a sixth of a start, for which no other command is to wait
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import OctKey

    if secret.lstrip().startswith((b"-----BEGIN", b"{")):
        raise Failed(
            "that file holds no HS256 secret; only who has the private key can make tokens"
        )
    # as chatd reads it: all of the file is the secret, but for one line end
    kept = secret.removesuffix(b"\n").removesuffix(b"\r")
    try:
        return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(kept))
    except (JoseError, ValueError) as error:
        raise Failed(f"no token can be made with that secret: {error}") from None


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
    made = mint(key.read(), claims)
    setting.output.done(made, token=made, claims=claims)


COMMANDS = (token,)
