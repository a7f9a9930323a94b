"""The README's commands, run as they stand, on a clean copy of the tree and the default ports.

What pip would fetch is there already, and no more than that: to fetch it anew took nine seconds
of the processor's time, and is what `make test` begins with in a clone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from chatd.config.options import Options
from tests.support.daemon import ROOT
from tests.support.environment import make_environment
from tests.support.examples import blocks, run
from tests.support.terminal import PATIENCE, Terminal, environment

#: Everything is installed anew.
pytestmark = pytest.mark.timeout(600)

#: What git would not have in a clone, or what a chat does not need.
LEFT_OUT = shutil.ignore_patterns(
    ".*", "build", "*.egg-info", "node_modules", "*.sqlite*", "__pycache__"
)


@pytest.fixture(scope="module")
def chatd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """What ``make run`` starts in a clean copy of the tree."""
    tree = tmp_path_factory.mktemp("clone") / "chatd"
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
    shutil.copytree(ROOT / ".ci", tree / ".ci")
    make_environment(tree / ".venv")
    # The registry is out of reach from within the namespace, so what builds chatd is fetched first.
    # pip takes the value of this variable for that of "compile"
    env = environment() | {"PIP_NO_COMPILE": "0"}
    subprocess.run(["make", ".venv/.run"], cwd=tree, env=env, check=True)
    with Terminal(tree) as terminal:
        terminal.run("make run &")
        deadline = time.monotonic() + PATIENCE
        while "Ready after" not in terminal.background():
            time.sleep(0.05)
            assert time.monotonic() < deadline, terminal.background()
        yield terminal


def test_it_opens_with_the_two_commands() -> None:
    lines = blocks((ROOT / "README.rst").read_text())[0].text.splitlines()
    assert [line.split("#")[0].strip() for line in lines] == ["make run", "make test"]


def test_make_run_says_where_to_point_the_browser(chatd: Terminal) -> None:
    said = chatd.background()
    [address] = re.findall(r"HTTP: +(http://\S+)", said)
    assert "<html" in chatd.run(f"curl -s {address}")[0]


def test_the_tour(chatd: Terminal) -> None:
    found = blocks((ROOT / "README.rst").read_text())
    commands = [step.command.split()[0] for block in found for step in block.steps]
    assert commands == ["echo", "curl", "curl", "echo", "curl"]
    run(chatd, "README.rst", found)


def test_every_option_is_documented() -> None:
    """The README's table names the options that there are, and no other."""
    text = (ROOT / "README.rst").read_text()
    table = text[text.index("\nOptions\n") : text.index("\nTransports\n")]
    documented = set(re.findall(r"--[a-z][a-z-]+", table)) - {"--config", "--help"}
    known = set(re.findall(r"--[a-z][a-z-]+", Options().getUsage()))
    assert documented == known - {"--config", "--help", "--version"}
