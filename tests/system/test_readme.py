"""The README's commands, run as they stand, on a clean copy of the tree and the default ports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import ROOT, spawn

#: What git would not have in a clone, or what a chat does not need.
LEFT_OUT = shutil.ignore_patterns(
    ".*", "build", "*.egg-info", "node_modules", "*.sqlite*", "__pycache__"
)
PATIENCE = 60.0


class Namespace:
    """A network of its own, in which the default ports are free whoever runs these tests."""

    def __init__(self, folder: Path, *command: str) -> None:
        user = [] if os.getuid() == 0 else ["--map-root-user"]
        self.folder = folder
        self.log = folder / "log"
        script = 'ip link set lo up && exec "$@"'
        self.complaints = ""
        self._inside = ["--user", "--preserve-credentials"] if user else []
        self.process = spawn(
            *["unshare", *user, "--net", "--pid", "--fork", "--kill-child"],
            *["sh", "-c", script, "sh", *command],
            folder=folder,
            log=self.log,
            env=_environment(),
        )

    def run(self, command: str) -> str:
        """Run a line of shell beside the first command; what it says on standard output."""
        enter = ["nsenter", "--target", str(self.process.pid), *self._inside, "--net", "--"]
        done = subprocess.run(
            [*enter, "sh", "-c", command],
            cwd=self.folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.complaints = done.stderr
        return done.stdout

    def close(self) -> None:
        """End the first command and all that it started."""
        self.process.kill()
        self.process.wait(PATIENCE)


def _environment() -> dict[str, str]:
    """Nothing of a make that runs these tests, nor of the environment they run in."""
    kept = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return {k: v for k, v in kept.items() if not k.startswith(("CHATD_", "VIRTUAL_ENV"))}


@pytest.fixture(scope="module")
def chatd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """What ``make run`` starts in a clean copy of the tree."""
    tree = tmp_path_factory.mktemp("clone") / "chatd"
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
    shutil.copytree(ROOT / ".ci", tree / ".ci")
    # The registry is out of reach from within the namespace, so what is fetched is fetched first.
    subprocess.run(["make", ".venv/.run"], cwd=tree, env=_environment(), check=True)
    namespace = Namespace(tree, "make", "run")
    try:
        deadline = time.monotonic() + PATIENCE
        while "Ready after" not in namespace.log.read_text():
            time.sleep(0.05)
            assert namespace.process.poll() is None, namespace.log.read_text()
            assert time.monotonic() < deadline, namespace.log.read_text()
        assert "200" in namespace.run("curl -so /dev/null -w '%{http_code}' localhost:8081/readyz")
        yield namespace
    finally:
        namespace.close()


def _blocks(text: str) -> list[str]:
    """The literal blocks of a reStructuredText file, without their indentation."""
    found = re.findall(r"::\n\n((?:    .*\n|\n)+)", text)
    return [re.sub(r"^    ", "", block, flags=re.M).strip("\n") for block in found]


def _commands(text: str) -> list[tuple[str, str]]:
    """Each line after ``$`` in the literal blocks, with the answer that is written under it."""
    found = []
    for block in _blocks(text):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, answer = part.partition("\n")
            found.append((command, answer.strip()))
    return found


def _matches(expected: str, answer: str) -> bool:
    """``...`` stands for anything, as in doctest."""
    pattern = ".*".join(re.escape(part) for part in expected.split("..."))
    return re.fullmatch(pattern, answer.strip(), re.S) is not None


def test_it_opens_with_the_two_commands() -> None:
    lines = _blocks((ROOT / "README.rst").read_text())[0].splitlines()
    assert [line.split("#")[0].strip() for line in lines] == ["make run", "make test"]


def test_make_run_says_where_to_point_the_browser(chatd: Namespace) -> None:
    said = chatd.log.read_text()
    [address] = re.findall(r"HTTP: +(http://\S+)", said)
    assert "<html" in chatd.run(f"curl -s {address}")


def test_the_tour(chatd: Namespace) -> None:
    commands = _commands((ROOT / "README.rst").read_text())
    assert [command.split()[0] for command, _ in commands] == [
        "echo",
        "curl",
        "curl",
        "echo",
        "curl",
    ]
    for command, expected in commands:
        answer = chatd.run(command)
        assert _matches(expected, answer), f"$ {command}\n{answer}\n{chatd.complaints}"


def test_every_option_is_documented(chatd: Namespace) -> None:
    """The README's table names the options that there are, and no other."""
    text = (ROOT / "README.rst").read_text()
    table = text[text.index("\nOptions\n") : text.index("\nTransports\n")]
    documented = set(re.findall(r"--[a-z][a-z-]+", table)) - {"--config", "--help"}
    known = set(re.findall(r"--[a-z][a-z-]+", chatd.run(".venv/bin/twistd chatd --help")))
    assert documented == known - {"--config", "--help", "--version"}
