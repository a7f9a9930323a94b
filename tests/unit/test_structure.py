"""The shape of the code: imports point one way, modules stay short, seams are kept."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence, Set
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from twisted.trial.unittest import TestCase
from zope.interface import implementedBy
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyClass

import chatd
from chatd import tap
from chatd.brokers.interfaces import IBroker, IFollower, IFollowing
from tests.support.serving import node_of_twistd

ROOT = Path(chatd.__file__).parent
LINES = 320

#: The folders from top to bottom: each imports only folders below it. ``errors`` and the package
#: itself are modules that everyone may use.
FOLDERS = (
    "tap",
    "ctl",
    "transports",
    "service",
    "rooms",
    "directory",
    "presence",
    "config",
    "brokers",
    "access",
    "net",
    "amqp",
    "web",
    "protocol",
    "telemetry",
    "timing",
    "errors",
    "",
)
#: The domain knows no transport, no AMQP library and no reactor.
DOMAIN = ("service", "rooms", "directory", "presence", "access", "protocol", "telemetry", "timing")
#: What the domain may use of others' code.
DOMAIN_MAY_USE = {
    "attrs",
    # Unicode: which characters a name may hold
    "idna",
    "precis_i18n",
    "cryptography",
    "joserfc",
    "prometheus_client",
    "twisted.application.service",
    "twisted.internet.defer",
    "twisted.internet.interfaces",
    "twisted.logger",
    "twisted.python",
    "zope.interface",
}
#: These reach for the global reactor themselves.
REACTOR = {
    "twisted.internet.reactor",
    "twisted.internet.threads.deferToThread",
    "twisted.internet.threads.callMultipleInThread",
    "twisted.internet.utils",
    "twisted.internet.task.react",
}


def _imported(source: str) -> set[str]:
    """Dotted names imported anywhere in ``source``: in functions and for type checkers too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@cache
def _sources() -> dict[str, Path]:
    """Every module of chatd by its dotted name without ``chatd.``; the package itself is ``""``."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def _own(names: Set[str], modules: dict[str, Path]) -> set[str]:
    """The modules of chatd among ``names``, the imported object's name cut off."""
    own = set()
    for name in names:
        if name == "chatd" or name.startswith("chatd."):
            module = name.removeprefix("chatd").removeprefix(".")
            while module not in modules:
                module = module.rpartition(".")[0]
            own.add(module)
    return own


def _folder(module: str) -> str:
    folder = module.partition(".")[0]
    assert folder in FOLDERS, f"chatd.{module} has no place in FOLDERS yet: give it one"
    return folder


@cache
def _modules() -> Sequence[tuple[str, Path, Set[str], Set[str]]]:
    """Of each module: its name, file, what it imports of chatd, and all that it imports."""
    modules = _sources()
    read = []
    for module, path in sorted(modules.items()):
        imported = _imported(path.read_text())
        read.append((module, path, _own(imported, modules) - {module}, imported))
    return read


class ImportTests(TestCase):
    """Who may know whom."""

    def test_folders_import_only_what_stands_below_them(self) -> None:
        for module, _, own, _ in _modules():
            for other in own:
                self.assertLessEqual(
                    FOLDERS.index(_folder(module)),
                    FOLDERS.index(_folder(other)),
                    f"chatd.{module} imports chatd.{other}",
                )

    def test_no_circles(self) -> None:
        # Raises CycleError, which names the modules.
        TopologicalSorter({module: own for module, _, own, _ in _modules()}).prepare()

    def test_folders_are_the_architecture(self) -> None:
        """Nothing but the service tree and the operator's error lies outside of the folders."""
        top = {path.name for path in ROOT.glob("*.py")}
        self.assertEqual(top, {"__init__.py", "errors.py", "tap.py"})

    def test_the_map_shows_the_folders_in_their_order(self) -> None:
        text = (ROOT.parent / "docs" / "architecture.rst").read_text()
        shown = re.findall(r"^    ([a-z]+) {2,}\S", text.partition("holds\nthis:")[2], re.MULTILINE)
        folders = [one for one in FOLDERS if one not in ("", "errors", "web")]
        self.assertEqual(shown[: len(folders)], folders)

    def test_the_service_tree_is_shown_as_it_is(self) -> None:
        node = node_of_twistd("--metrics=tcp:0")
        names = [part.name.partition(":")[0] for part in node]
        map_ = (ROOT.parent / "docs" / "architecture.rst").read_text()
        for shown in (tap.__doc__ or "", map_):
            found = re.findall(r"^    [|`]- (\w+(?: \w+)*)", shown, re.MULTILINE)
            self.assertEqual(found, names)

    def test_what_the_map_names_is_there(self) -> None:
        text = (ROOT.parent / "docs" / "architecture.rst").read_text()
        named = re.findall(r"``((?:chatd/|tests/)?[a-z_]+/[a-z_/]+(?:\.py)?)``", text)
        self.assertGreater(len(named), 15)
        for name in named:
            base = ROOT.parent if name.startswith(("chatd/", "tests/", "docs/")) else ROOT
            path = base / name
            self.assertTrue(path.exists() or path.with_suffix(".py").exists(), name)

    def test_transports_and_brokers_do_not_know_each_other(self) -> None:
        for module, _, own, _ in _modules():
            for one, other in (("transports", "brokers"), ("brokers", "transports")):
                if module.startswith(one):
                    known = [name for name in own if name.startswith((other, "web"))]
                    self.assertEqual(known, [], f"chatd.{module}")

    def test_a_broker_is_known_to_the_registry_alone(self) -> None:
        kinds = {path.parent.name for path in ROOT.glob("brokers/*/kind.py")}
        self.assertGreaterEqual(kinds, {"memory", "rabbitmq", "sqlite"})
        for module, _, own, _ in _modules():
            for other in own:
                parts = other.split(".")
                if len(parts) > 2 and parts[0] == "brokers" and parts[1] in kinds:
                    known = module.startswith(f"brokers.{parts[1]}") or (
                        module == "brokers.registry" and parts[2] == "kind"
                    )
                    self.assertTrue(known, f"chatd.{module} imports chatd.{other}")

    def test_only_brokers_know_amqp_and_amqp_knows_nobody(self) -> None:
        for module, _, own, _ in _modules():
            top = module.partition(".")[0]
            known = {name.partition(".")[0] for name in own}
            if top == "amqp":
                self.assertLessEqual(known, {"amqp", ""}, f"chatd.{module}")
            elif top != "brokers":
                self.assertNotIn("amqp", known, f"chatd.{module}")

    def test_the_domain_knows_no_transport(self) -> None:
        used = set()
        for module, _, _, imported in _modules():
            if _folder(module) not in DOMAIN:
                continue
            for name in imported:
                if name.split(".")[0] in sys.stdlib_module_names | {"chatd"}:
                    continue
                allowed = {one for one in DOMAIN_MAY_USE if f"{name}.".startswith(f"{one}.")}
                self.assertTrue(allowed, f"chatd.{module} imports {name}")
                used |= allowed
        self.assertEqual(DOMAIN_MAY_USE - used, set(), "allowed, and used by nothing")

    def test_only_tap_knows_the_reactor(self) -> None:
        for module, _, _, imported in _modules():
            if module != "tap":
                self.assertEqual(imported & REACTOR, set(), f"chatd.{module}")

    def test_importing_the_domain_installs_no_reactor(self) -> None:
        domain = [f"chatd.{name}" for name in sorted(_sources()) if _folder(name) in DOMAIN]
        script = (
            f"import sys, {', '.join(domain)}\nsys.exit('twisted.internet.reactor' in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT.parent)

    def test_the_check_itself(self) -> None:
        """Imports in functions count, and those for type checkers."""
        source = (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from chatd.tap import Options\n"
            "def f():\n    from twisted.internet import reactor\n"
        )
        names = {"typing.TYPE_CHECKING", "chatd.tap.Options", "twisted.internet.reactor"}
        self.assertEqual(_imported(source), names)
        self.assertEqual(_own({"chatd.errors.StartError", "attrs.define"}, _sources()), {"errors"})


class TestsOfTests(TestCase):
    """What tests have in common lies in ``tests/support`` and in suites, never in a test."""

    def test_no_test_imports_a_test(self) -> None:
        top = ROOT.parent
        sources = [*top.glob("tests/**/*.py"), *top.glob("bench/**/*.py")]
        self.assertGreater(len(sources), 50)
        for path in sources:
            folder, text = path.parent.name, path.read_text()
            if not re.search(r"^\s*(from|import)\s+tests\b(?!\.support)", text, re.MULTILINE):
                continue
            for name in _imported(text):
                parts = name.split(".")
                if parts[0] == "tests":
                    shared = parts[1] == "support" or (
                        parts[1] == folder and not parts[2].startswith("test_")
                    )
                    self.assertTrue(shared, f"{path.relative_to(top)} imports {name}")


class SizeTests(TestCase):
    """A module is one idea and fits a short sitting."""

    def test_modules_are_short(self) -> None:
        for module, path, _, _ in _modules():
            lines = len(path.read_text().splitlines())
            self.assertLessEqual(lines, LINES, f"chatd.{module} has {lines} lines")

    def test_everything_public_says_what_it_is(self) -> None:
        for module, path, _, _ in _modules():
            tree = ast.parse(path.read_text())
            if tree.body:
                self.assertTrue(ast.get_docstring(tree), f"chatd.{module} has no docstring")
            for node in tree.body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    said = node.name.startswith("_") or ast.get_docstring(node)
                    self.assertTrue(said, f"chatd.{module}.{node.name} has no docstring")


def _implementations(module: str) -> Iterator[tuple[type, InterfaceClass]]:
    """Each class of ``chatd.<module>`` with each interface it says it implements."""
    name = f"chatd.{module}".removesuffix(".")
    for thing in vars(importlib.import_module(name)).values():
        if isinstance(thing, type) and thing.__module__ == name:
            for interface in implementedBy(thing).declared:
                yield thing, interface


@pytest.mark.parametrize("module", sorted(_sources()))
def test_implementations_keep_their_interface(module: str) -> None:
    for implementation, interface in _implementations(module):
        verifyClass(interface, implementation)


@pytest.mark.parametrize("seam", [IBroker, IFollower, IFollowing])
def test_seams_are_found(seam: InterfaceClass) -> None:
    every = [pair for module in _sources() for pair in _implementations(module)]
    assert len([one for one, interface in every if interface is seam]) > 1
