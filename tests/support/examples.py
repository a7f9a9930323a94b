"""The examples of the documents: literal blocks, what marks them, and the commands in them.

In a literal block a line that begins with ``$`` is a command, lines after it that begin with ``>``
go on with it, and the rest up to the next command is what it says. A comment before the paragraph
that introduces a block says who runs it, if not `tests.system.test_docs`::

    .. run by: tests/system/test_backup.py
    .. not run: only a booted machine has systemd

The same with ``page run by`` goes for all blocks of the page. What a page takes for granted is a
comment, too: commands that are run before its own. ::

    .. before: twistd --nodaemon chatd --broker memory: &

A command whose answer is not written must end with status 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from tests.support.daemon import ROOT
from tests.support.terminal import Terminal

#: Every document.
PAGES = sorted(
    [*ROOT.glob("docs/*.rst"), ROOT / "README.rst", ROOT / "CONTRIBUTING.rst"],
    key=lambda path: path.name,
)

_MARK = re.compile(r"\.\. (?P<page>page )?(?P<kind>run by|not run): (?P<text>.*)")
_VALUE = re.compile(r"(\.\.\.|\$[A-Z]+)")


@frozen
class Mark:
    """Who runs a block: ``run by`` a test, or ``not run`` for a reason."""

    kind: str
    text: str


@frozen
class Step:
    """A command, of one line or several, and what is written under it."""

    command: str
    answer: str


@frozen
class Block:
    """A literal block without its indentation, at a line of its page, and its mark if any."""

    line: int
    text: str
    mark: Mark | None

    @property
    def steps(self) -> list[Step]:
        """Its commands; what stands before the first is left out."""
        found = []
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            first, *rest = part.splitlines()
            more = 0
            while more < len(rest) and rest[more].startswith(">"):
                more += 1
            command = "\n".join([first, *(line[1:].removeprefix(" ") for line in rest[:more])])
            found.append(Step(command, "\n".join(rest[more:]).strip()))
        return found


def blocks(text: str) -> list[Block]:
    """The literal blocks of a page, in order."""
    return list(_blocks(text.splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    page = own = None
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        mark = _MARK.fullmatch(line)
        if mark is not None:
            said = Mark(mark["kind"], mark["text"])
            page, own = (said, own) if mark["page"] else (page, said)
        if not line.endswith("::") or line.startswith(".. "):
            continue
        depth = len(line) - len(line.lstrip())
        begins, body = number, []
        while number < len(lines) and (not lines[number] or _depth(lines[number]) > depth):
            body.append(lines[number])
            number += 1
        inside = min((_depth(line) for line in body if line), default=0)
        text = "\n".join(line[inside:] for line in body).strip("\n")
        yield Block(begins + 1, text, own or page)
        own = None


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def before(text: str) -> list[str]:
    """The commands that a page takes for granted."""
    return re.findall(r"^\.\. before: (.*)$", text, re.MULTILINE)


def fitting(expected: str, values: dict[str, str]) -> re.Pattern[str]:
    """What an answer must look like: ``...`` stands for anything, as a last line for nothing, too;
    ``$C`` for the value of that name in ``values``, or for one that becomes a group of the name."""
    new: set[str] = set()
    pattern = ""
    end = r"(\n.*)?" if expected.endswith("\n...") else ""
    for part in _VALUE.split(expected.removesuffix("\n...")):
        name = part[1:]
        if part == "...":
            pattern += ".*"
        elif not part.startswith("$") or not name.isupper():
            pattern += re.escape(part)
        elif name in values:
            pattern += re.escape(values[name])
        else:
            pattern += f"(?P={name})" if name in new else f'(?P<{name}>[^"\\n]+)'
            new.add(name)
    return re.compile(pattern + end, re.DOTALL)


def run(terminal: Terminal, page: str, found: list[Block]) -> None:
    """Run the commands of blocks of ``page``. Raises AssertionError for an answer that does not
    fit, and for a command that fails and whose answer is not written."""
    values: dict[str, str] = {}
    for block in found:
        for step in block.steps:
            said, status = terminal.run(step.command)
            where = f"{page}:{block.line}\n$ {step.command}\n{said}\n(status {status})"
            if not step.answer:
                assert status == 0, f"{where}\n{terminal.background()}"
                continue
            match = fitting(step.answer, values).fullmatch(said)
            assert match is not None, f"{where}\n{terminal.background()}"
            values |= match.groupdict()
