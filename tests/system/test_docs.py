"""The commands of the documents, run as they stand, page by page, on a machine of their own.

What they start as ``twistd`` is forked from what has imported it (`tests.support.forked_command`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.examples import PAGES, Block, before, blocks, run
from tests.support.forked_command import ForkedCommand
from tests.support.terminal import Terminal


def _own(path: Path) -> list[Block]:
    """The blocks of a page that are run here."""
    return [block for block in blocks(path.read_text()) if block.mark is None and block.steps]


OWN = [path for path in PAGES if _own(path)]


@pytest.mark.parametrize("path", OWN, ids=[path.stem for path in OWN])
def test_a_page(path: Path, tmp_path: Path) -> None:
    programs = tmp_path / ".programs"
    with ForkedCommand(programs), Terminal(tmp_path, programs=programs) as terminal:
        for command in before(path.read_text()):
            said, status = terminal.run(command)
            assert status == 0, f"{command}\n{said}\n{terminal.background()}"
        run(terminal, path.name, _own(path))
