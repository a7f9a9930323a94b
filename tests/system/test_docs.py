"""The commands of the documents, run as they stand, page by page, on a machine of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.examples import PAGES, Block, before, blocks, run
from tests.support.terminal import Terminal


def _own(path: Path) -> list[Block]:
    """The blocks of a page that are run here."""
    return [block for block in blocks(path.read_text()) if block.mark is None and block.steps]


OWN = [path for path in PAGES if _own(path)]


@pytest.mark.parametrize("path", OWN, ids=[path.stem for path in OWN])
def test_a_page(path: Path, tmp_path: Path) -> None:
    with Terminal(tmp_path) as terminal:
        for command in before(path.read_text()):
            said, status = terminal.run(command)
            assert status == 0, f"{command}\n{said}\n{terminal.background()}"
        run(terminal, path.name, _own(path))
