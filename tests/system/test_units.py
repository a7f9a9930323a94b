"""The units of ``etc/``: systemd understands them, and they are as closed as they can be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from chatd.config.options import Options
from chatd.config.preflight import check_apart
from tests.support.daemon import ROOT

#: What `systemd-analyze security` says at most: 0 is closed, 10 is open. What is left is what a
#: network service needs: the network, and ports below 1024.
EXPOSURE = 1.5
SERVICES = ("chatd.service", "chatd@.service")


def analyze(folder: Path, *command: str) -> str:
    """What ``systemd-analyze`` prints; it must not complain."""
    done = subprocess.run(
        ["systemd-analyze", *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units in a folder, with a program that exists wherever the tests run."""
    for path in (ROOT / "etc").glob("chatd*.s*"):
        text = path.read_text().replace("/opt/chatd/bin/twistd", shutil.which("true") or "")
        (tmp_path / path.name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("unit", ["chatd.service", "chatd@1.service", "chatd@1.socket"])
def test_systemd_understands_it(units: Path, unit: str) -> None:
    assert analyze(units, "verify", f"./{unit}") == ""


@pytest.mark.parametrize("unit", SERVICES)
def test_it_is_closed(units: Path, unit: str) -> None:
    said = analyze(units, "security", "--offline=yes", "--no-pager", f"./{unit}")
    [exposure] = re.findall(r"exposure level for \S+: ([0-9.]+)", said)
    assert float(exposure) <= EXPOSURE


def test_each_process_has_a_port_for_its_metrics(units: Path) -> None:
    """By the drop-in that the unit tells of: systemd puts the process's number into it."""
    unit = units / "chatd@.service"
    [line] = re.findall(r"^#   (Environment=CHATD_METRICS=\S+)$", unit.read_text(), re.MULTILINE)
    ports = [f"--metrics={line.split('=', 2)[2].replace('%i', number)}" for number in "12"]
    options = Options({})
    options.parseOptions(["--broker=memory:", *ports])
    check_apart(options.config)
    dropin = units / "chatd@.service.d"
    dropin.mkdir()
    (dropin / "metrics.conf").write_text(f"[Service]\n{line}\n")
    assert analyze(units, "verify", "./chatd@1.service") == ""


def test_both_are_closed_alike() -> None:
    """All but what they run, and what that needs."""
    differ = re.compile(
        r"^(Description|Requires|After|ExecStart)=.*?(?<!\\)\n", re.MULTILINE | re.DOTALL
    )
    one, several = (
        differ.sub("", text[text.index("[Unit]") :])
        for text in ((ROOT / "etc" / unit).read_text() for unit in SERVICES)
    )
    assert one == several


@pytest.mark.parametrize("unit", SERVICES)
def test_the_process_can_count_its_files(unit: str) -> None:
    """Without ``/proc/stat`` the client of Prometheus has no ``process_open_fds``, nor any other
    metric of the process, and says nothing of it."""
    assert not re.search("^ProcSubset=", (ROOT / "etc" / unit).read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("script", "arguments", "told"),
    [
        (
            "postinst",
            ("configure", "1.0.0"),
            ["restart chatd@1.service", "restart chatd@2.service"],
        ),
        ("postinst", ("configure", ""), []),
        ("prerm", ("remove",), ["stop chatd@*.socket chatd@*.service"]),
        ("prerm", ("upgrade", "1.1.0"), []),
    ],
)
def test_the_package_looks_after_each_instance(
    tmp_path: Path, script: str, arguments: tuple[str, ...], told: list[str]
) -> None:
    """debhelper does so for ``chatd.service`` alone; the others would go on with files that are
    gone."""
    programs, log = tmp_path / "programs", tmp_path / "log"
    programs.mkdir()
    for name, does in (
        ("adduser", ""),
        ("chown", ""),
        ("chmod", ""),
        ("find", ""),
        ("rm", ""),
        ("systemctl", '[ "$1" != list-units ] || printf "chatd@%d.service loaded active\\n" 1 2'),
        ("deb-systemd-invoke", f'echo "$*" >>{log}'),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    text = (ROOT / "debian" / script).read_text().replace("/run/systemd/system", str(tmp_path))
    (tmp_path / script).write_text(text.replace("/opt/chatd/bin/python", "true"))
    subprocess.run(
        ["sh", tmp_path / script, *arguments],
        env={"PATH": f"{programs}:{os.environ['PATH']}"},
        check=True,
    )
    assert (log.read_text().splitlines() if log.exists() else []) == told
