"""docs/security.rst names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]
_NAMED = re.compile(r"``(test_\w+|\w+Tests)``")


class ThreatTableTests(SynchronousTestCase):
    def test_every_test_named_exists(self) -> None:
        table = (ROOT / "docs" / "security.rst").read_text().partition(".. list-table::")[2]
        shown = re.findall(r"^     - (``test_\w+``: .*(?:\n       \S.*)*)", table, re.MULTILINE)
        self.assertGreater(len(shown), 15)
        for entry in "; ".join(shown).split(";"):
            module, *names = _NAMED.findall(entry)
            (path,) = (ROOT / "tests").glob(f"*/{module}.py")
            source = path.read_text()
            self.assertTrue(names, entry)
            for name in names:
                kind = "class" if name.endswith("Tests") else "def"
                self.assertRegex(source, rf"{kind} {name}\(", f"{module}: {name}")
