"""What the documents name exists: tests, options, metrics, commands, alerts, files; every command
in them is run by a test, or says why not."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from chatd.config.table import OPTIONS
from chatd.ctl.main import cli
from chatd.protocol.errors import Code
from docs.extensions.program import LABELS, metrics
from tests.support.daemon import ROOT
from tests.support.examples import PAGES, blocks

TEXTS = {path.name: path.read_text() for path in PAGES}
EVERYTHING = "\n".join(TEXTS.values())

_TEST = re.compile(r"``(tests/[\w/]+\.py)::(\w+)``")
#: Options of ``twistd chatd`` that are no settings, and those of other programs that are spoken of.
_OTHERS = {"--config", "--check", "--help", "--version", "--preview", "--uid"}


def _inline(pattern: str) -> set[str]:
    """What matches in the pages as a literal within a sentence."""
    return set(re.findall(rf"``({pattern})", EVERYTHING))


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_command_is_run(name: str) -> None:
    for block in blocks(TEXTS[name]):
        where = f"{name}:{block.line}\n{block.text}"
        if block.mark is None:
            assert block.steps, f"no command, and no mark: {where}"
        elif block.mark.kind == "run by":
            assert (ROOT / block.mark.text).exists(), where
            assert name in (ROOT / block.mark.text).read_text(), where


def test_behind_each_claim_stands_a_test() -> None:
    chapters = re.split(r"\n-{4,}\n", TEXTS["complaints.rst"])[1:]
    assert len(chapters) >= 10
    for chapter in chapters:
        shown = chapter.partition("*Shown by*")[2]
        assert _TEST.search(shown), chapter


def test_every_test_named_exists() -> None:
    for path, name in _TEST.findall(EVERYTHING):
        kind = "class" if name.startswith("Test") or name.endswith("Tests") else "def"
        assert re.search(rf"{kind} {name}\b", (ROOT / path).read_text()), f"{path}::{name}"


def test_every_option_exists() -> None:
    known = {f"--{option.name}" for option in OPTIONS} | _OTHERS
    for command in (cli, *cli.commands.values()):
        known |= {name for one in command.params for name in one.opts + one.secondary_opts}
    for folder in ("tests", "bench"):
        for path in (ROOT / folder).rglob("*.py"):
            known |= set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', path.read_text()))
    assert _inline(r"--[a-z][a-z-]+") - known == set()


def test_every_command_of_chatctl_exists() -> None:
    named = set(re.findall(r"chatctl (?:--\S+ \S+ )*([a-z]+)", EVERYTHING))
    told = {"is", "and", "looks", "of"}  # sentences about it
    assert named - told <= set(cli.commands), named - set(cli.commands)
    assert isinstance(cli, click.Group)


def test_every_metric_exists() -> None:
    known = set(metrics())
    endings = {f"{name}{more}" for name in known for more in ("_bucket", "_count", "_sum")}
    named = _inline(r"chatd_[a-z_]+")
    assert named - known - endings == set()


def test_labels_are_said_of_metrics_that_have_no_sample_yet() -> None:
    without = {name for name, metric in metrics().items() if not metric.samples}
    assert without == set(LABELS)


def test_every_variable_exists() -> None:
    known = {option.variable for option in OPTIONS} | {"CHATD_"}
    assert set(re.findall(r"CHATD_[A-Z_]*", EVERYTHING)) <= known


def test_every_error_code_exists() -> None:
    codes = {code.value[0] for code in Code}
    assert set(re.findall(r'"code":"(\w+)"', EVERYTHING)) <= codes
    table = (
        TEXTS["protocol.rst"]
        .partition("code               HTTP")[2]
        .partition("``rate_limited`` is for")
    )
    assert set(re.findall(r"^``(\w+)``", table[0], re.MULTILINE)) == codes


def test_the_runbook_has_every_alert() -> None:
    rules = (ROOT / "etc" / "prometheus" / "chatd.rules.yml").read_text()
    alerts = set(re.findall(r"alert: (\w+)", rules))
    assert set(re.findall(r"\bChatd[A-Z]\w+", TEXTS["runbook.rst"])) == alerts


def test_the_code_names_sections_of_the_protocol_that_there_are() -> None:
    titles = set(re.findall(r"^(.+)\n[-~]{3,}$", TEXTS["protocol.rst"], re.MULTILINE))
    named = re.compile(r'protocol(?:, | \()"([^"]+)"|protocol, section (\d)')
    for path in (ROOT / "chatd").rglob("*.py"):
        for title, number in named.findall(path.read_text()):
            assert title in titles, f"{path}: {title or number}"


def test_every_file_exists() -> None:
    folders = ("chatd", "docs", "etc", "tests", "bench", "debian")
    for name in _inline(rf"(?:{'|'.join(folders)})/[\w./@*+-]+"):
        assert list(ROOT.glob(name.rstrip("/"))), name


def test_the_package_is_called_what_it_is() -> None:
    """It brings libraries in machine code, so it is one for each architecture."""
    assert "Architecture: any\n" in (ROOT / "debian" / "control").read_text()
    assert set(re.findall(r"chatd_[\d.]+_(\w+)\.deb", EVERYTHING)) == {"amd64"}


def test_the_package_has_the_files_that_documents_name() -> None:
    rules = (ROOT / "debian" / "rules").read_text()
    # its own scripts make the user
    folders = {path.name for path in (ROOT / "etc").iterdir() if path.is_dir()} - {"sysusers.d"}
    for folder in sorted(folders):
        assert f" etc/{folder}" in rules, folder
    assert " docs/examples/" in rules


def test_the_package_names_no_home() -> None:
    """As CONTRIBUTING.rst says, there is none."""
    assert "Homepage:" not in (ROOT / "debian" / "control").read_text()
    assert "Source:" not in (ROOT / "debian" / "copyright").read_text()


def test_every_page_is_reached() -> None:
    index = Path(ROOT / "docs" / "index.rst").read_text()
    listed = set(re.findall(r"^   (?:.* <)?([\w-]+)>?$", index, re.MULTILINE))
    assert listed == {path.stem for path in (ROOT / "docs").glob("*.rst")} - {"index"}
