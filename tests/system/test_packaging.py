"""What a user gets from pip: a ``twistd chatd`` that works, anywhere, with all its files."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest

import chatd
from tests.support.daemon import ROOT, TWISTD, spawn
from tests.support.rabbit_home import free_port

#: What a checkout has that a build may need.
SOURCES = ("chatd", "twisted", "setup.cfg", "pyproject.toml", "README.rst", "LICENSE")
_open = build_opener(ProxyHandler({})).open

#: A build on a busy machine.
pytestmark = pytest.mark.timeout(400)


def _pip(python: Path, *args: str) -> None:
    """Run the pip of these tests on the environment of ``python``, which has none of its own."""
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--python", str(python)]
    subprocess.run([sys.executable, "-m", "pip", *options, *args], check=True)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that building leaves nothing in the checkout."""
    tree = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    return tree


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment, with the libraries of these tests. (That the wheel
    asks for all it needs is shown by `tests.system.test_readme`, in an empty one.)"""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def twistd(tree: Path, python: Path) -> Path:
    """``twistd`` of an environment that chatd's wheel, built for it, was installed in. (An editable
    installation is what ``make run`` makes: `tests.system.test_readme`.)"""
    _pip(python, "install", "--no-compile", "--no-deps", str(tree))
    script = python.parent / "twistd"
    script.write_text(f"#!{python}\n{TWISTD}\n")
    script.chmod(0o755)
    return script


@pytest.fixture
def http(twistd: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a chatd started in an empty folder."""
    ports = {name: free_port() for name in ("http", "websocket", "setup")}
    endpoints = [f"--{name}=tcp:{port}:interface=127.0.0.1" for name, port in ports.items()]
    command = [str(twistd), "--nodaemon", "--pidfile=", "chatd", *endpoints]
    process = spawn(*command, folder=tmp_path, log=tmp_path / "log")
    url = f"http://127.0.0.1:{ports['http']}"
    try:
        while _status(f"{url}/readyz") != 200:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def _status(url: str) -> int | None:
    try:
        with _open(url, timeout=10) as response:
            return int(response.status)
    except (URLError, OSError):
        return None


def _installed(twistd: Path) -> Path:
    code = "import chatd; print(chatd.__file__)"
    done = subprocess.run(
        [str(twistd.parent / "python"), "-c", code],
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(done.stdout.strip()).parent


def test_it_is_the_installed_one(twistd: Path) -> None:
    assert _installed(twistd) != Path(chatd.__file__).parent


def test_every_file_is_there(twistd: Path) -> None:
    """Modules and what lies beside them: the page, the specification, the type marker."""
    ours = Path(chatd.__file__).parent
    suffixes = {".py", ".xml", ".html", ".js", ".css", ".svg", ".typed"}
    expected = {p.relative_to(ours) for p in ours.rglob("*") if p.suffix in suffixes}
    installed = _installed(twistd)
    found = {p.relative_to(installed) for p in installed.rglob("*")}
    assert Path("web/index.html") in expected
    assert expected - found == set()


def test_it_runs(http: str, tmp_path: Path) -> None:
    """So twistd knows chatd, and its options."""
    assert _status(f"{http}/healthz") == 200
    assert _status(f"{http}/") == 200
    assert _status(f"{http}/chatd.js") == 200
    assert (tmp_path / "chatd.sqlite").exists()
