"""Rooms and their members: ``rooms create delete members add remove``."""

from __future__ import annotations

import click

from chatd.ctl.api import room_path
from chatd.ctl.setting import Setting, pass_setting

_room = click.argument("room")
_user = click.argument("user")


@click.command()
@click.option("--details", is_flag=True, help="How much each keeps; when something was said last.")
@pass_setting
def rooms(setting: Setting, details: bool) -> None:
    """List all rooms, and how many are in each."""
    more = ("messages", "bytes", "last") if details else ()
    query = {"details": "1"} if details else None
    found = setting.api.json("GET", "/rooms", query=query)["rooms"]
    setting.output.rows(("room", "private", "count", *more), found)


@click.command()
@_room
@click.option("--private/--public", default=None, help="Also changes a room that exists.")
@pass_setting
def create(setting: Setting, room: str, private: bool | None) -> None:
    """Create a room."""
    body = {} if private is None else {"private": private}
    made = setting.api.json("PUT", room_path(room), body=body)
    setting.output.done(f"{made['room']}: {'private' if made['private'] else 'public'}", **made)


@click.command()
@_room
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_setting
def delete(setting: Setting, room: str, yes: bool) -> None:
    """Delete a room and all that was said in it."""
    if not yes:
        click.confirm(f"Delete {room} and all that was said in it?", abort=True, err=True)
    setting.api.ask("DELETE", room_path(room))
    setting.output.done(f"{room}: deleted", room=room, deleted=True)


@click.command()
@_room
@pass_setting
def members(setting: Setting, room: str) -> None:
    """List who may be in a private room, and who is in a room now."""
    found = setting.api.json("GET", f"{room_path(room)}/members")
    allowed, present = set(found["members"]), set(found["present"])
    rows = [
        {"user": user, "member": user in allowed, "present": user in present}
        for user in sorted(allowed | present)
    ]
    setting.output.rows(("user", "member", "present"), rows)


@click.command()
@_room
@_user
@pass_setting
def add(setting: Setting, room: str, user: str) -> None:
    """Let a user into a private room."""
    setting.api.ask("PUT", room_path(room, user))
    setting.output.done(f"{room}: {user} is a member", room=room, user=user, member=True)


@click.command()
@_room
@_user
@pass_setting
def remove(setting: Setting, room: str, user: str) -> None:
    """Take a user's membership in a room away."""
    setting.api.ask("DELETE", room_path(room, user))
    setting.output.done(f"{room}: {user} is no member", room=room, user=user, member=False)


COMMANDS = (rooms, create, delete, members, add, remove)
