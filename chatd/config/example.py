"""``etc/chatd.toml``, made of the options: ``python -m chatd.config.example >etc/chatd.toml``."""

from __future__ import annotations

import json
import textwrap

from chatd.config.table import OPTIONS, Option

_HEAD = """\
# chatd's settings: twistd --nodaemon chatd --config /etc/chatd/chatd.toml
# Each option with its default, or an example where there is none; take the # away to set it.
# The command line wins over the environment (CHATD_<NAME>), that over this file.
# After a change: twistd chatd --check --config THIS-FILE, then SIGHUP (systemctl reload chatd),
# or a restart for what says so. Made by python -m chatd.config.example; see there.
"""

#: What stands for options without a default.
_EXAMPLES = {
    "metrics": "tcp:9100:interface=127.0.0.1",
    "token-key": "/etc/chatd/token-key",
    "audience": "chat",
    "issuer": "https://login.example.org",
    "admin-key": "/etc/chatd/admin-key",
    "setup-secret": "/etc/chatd/setup-secret",
    "origin": "https://www.example.org",
    "host": "chat.example.org",
    "trusted-proxy": "127.0.0.1",
    "access-log": "/var/log/chatd/access.log",
}


def _entry(option: Option) -> str:
    more = ["" if option.live else "a change needs a restart", "a list" if option.repeated else ""]
    notes = ", ".join(note for note in more if note)
    text = option.help[0].upper() + option.help[1:] + (f" ({notes})." if notes else ".")
    shown = option.default or _EXAMPLES[option.name]
    value = json.dumps([shown] if option.repeated else shown)
    if option.flag:
        value = {"yes": "true", "no": "false"}[shown]
    return "\n".join(
        [*(f"# {line}" for line in textwrap.wrap(text, 96)), f"#{option.name} = {value}"]
    )


def example() -> str:
    """The whole file."""
    return "\n".join([_HEAD, *(f"{_entry(option)}\n" for option in OPTIONS)])


if __name__ == "__main__":
    print(example(), end="")
