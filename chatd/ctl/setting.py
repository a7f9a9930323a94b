"""What every command is given."""

from __future__ import annotations

import click
from attrs import frozen

from chatd.ctl.api import ChatdAPI
from chatd.ctl.output import Output


@frozen
class Setting:
    """The node that a command is about, and where it prints."""

    api: ChatdAPI
    output: Output


pass_setting = click.make_pass_decorator(Setting)
