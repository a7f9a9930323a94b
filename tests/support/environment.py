"""A virtual environment with what chatd needs and nothing else, as pip would have fetched it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement


def make_environment(folder: Path) -> None:
    """Make one in ``folder``, of pip and of what chatd's metadata asks for, directly or not: links
    to the files that the tests themselves run with."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    for found in needed("chatd").values():
        if found.name != "chatd":
            _link(found, packages)
    _link(distribution("pip"), packages)


def needed(name: str) -> dict[str, Distribution]:
    """The distribution and all that it needs, by names with extras."""
    found: dict[str, Distribution] = {}
    asked = [Requirement(name)]
    while asked:
        one = asked.pop()
        key = f"{one.name}{sorted(one.extras)}"
        if key in found:
            continue
        found[key] = distribution(one.name)
        for more in map(Requirement, found[key].requires or ()):
            extras = ("", *one.extras)
            if more.marker is None or any(more.marker.evaluate({"extra": e}) for e in extras):
                asked.append(more)
    return found


def _link(found: Distribution, packages: Path) -> None:
    for file in found.files or ():
        source, target = Path(str(file.locate())), Path(os.path.normpath(packages / file))
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() or not source.exists():
            continue
        if file.parts[0] == "..":  # a script, which names its interpreter
            target.write_text(source.read_text().replace(sys.prefix, str(packages.parents[2])))
            shutil.copymode(source, target)
        else:
            try:
                os.link(source, target)
            except OSError:  # another file system
                shutil.copy2(source, target)
