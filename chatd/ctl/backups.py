"""``backup`` and ``restore`` of SQLite (docs/backup.rst)."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import click

from chatd.ctl.api import Failed
from chatd.ctl.setting import Setting, pass_setting
from chatd.errors import InUse, StartError

#: Pages that are copied at a time.
STEP = 500

#: What the names of the files end with that SQLite and chatd keep beside a database.
BESIDE = ("-wal", "-shm", "-journal", ".lock", ".mark")

_path = click.Path(exists=True, dir_okay=False, path_type=Path)
_new_path = click.Path(dir_okay=False, path_type=Path)


@contextmanager
def _database(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """The database ``path``, or `Failed`: what is no database, damaged, or cannot be written."""
    try:
        address = f"{path.absolute().as_uri()}?mode={mode}"
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as found:
            yield found
    except sqlite3.Error as error:
        raise Failed(f"{path}: {error}") from None


def _files(database: Path) -> Iterator[Path]:
    """Where the files of ``database`` are, whether they exist or not: those beside its name, and
    those beside the file that its name leads to, where SQLite has them."""
    for name in {str(database.absolute()), os.path.realpath(database)}:
        yield from (Path(f"{name}{end}") for end in ("", *BESIDE))


def _same(one: Path, other: Path) -> bool:
    """Whether both are one file, also through links."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return one.samefile(other)
    except OSError:
        return False


def _check_apart(source: Path, target: Path) -> None:
    """`Failed` if what is put in the place of ``target``, or removed beside it, is a file of the
    database ``source``: the copy would be the end of it."""
    theirs = list(_files(source))
    if any(_same(one, other) for one in _files(target) for other in theirs):
        raise Failed(f"{target} belongs to {source}; give another file")


@contextmanager
def _unused(target: Path) -> Iterator[None]:
    """Hold the lock of the database that ``target`` is, or is a file of. `Failed` if a process
    uses it."""
    # brings Twisted, for which no other command is to wait
    from chatd.brokers import registry

    path = os.path.realpath(target)
    with ExitStack() as locks:
        for base in (path, *(path.removesuffix(end) for end in BESIDE if path.endswith(end))):
            try:
                locks.enter_context(registry.unused(f"sqlite:{base}"))
            except InUse as error:
                raise Failed(f"{target} is in use: {_plain(error)}") from None
            except StartError as error:
                raise Failed(_plain(error)) from None
        yield


def _plain(error: StartError) -> str:
    """What is said of an option of chatd's, without the option and what to give it instead."""
    return str(error).removeprefix("--broker: ").partition("; ")[0]


def _give_away(new: int, target: Path) -> None:
    """Give the open file ``new`` the owner and the mode of the database ``target``, else those that
    a database in its folder needs: root may put it there, but another user will open it."""
    try:
        old = target.stat()
        mode = old.st_mode & 0o777
    except FileNotFoundError:
        old = target.parent.stat()
        # never more than the group: a folder that all may look into is no reason
        mode = 0o660 if old.st_mode & stat.S_IWGRP else 0o600
        if os.geteuid() != 0:
            return  # it is for who runs this, as a database that chatd makes
    try:
        os.fchown(new, old.st_uid, old.st_gid)
    except PermissionError:
        if os.geteuid() != old.st_uid:
            raise Failed(f"{target} is another user's; do this as that user, or as root") from None
        mode &= ~0o070  # of a group that is not the old one
    os.fchmod(new, mode)


def _copy(
    setting: Setting, source: Path, target: Path, what: str, ready: Callable[[int], None]
) -> None:
    """Copy one moment of the database ``source``, which may be in use, to ``target``, which is in
    nobody's use, whole or not at all. What SQLite had beside an older ``target`` goes with it.
    ``ready`` is called with the copy, open, before it is put in its place."""
    with _unused(target):
        try:
            _copy_unused(setting, source, target, what, ready)
        except OSError as error:
            raise Failed(f"{target}: {error.strerror or error}") from None


def _copy_unused(
    setting: Setting, source: Path, target: Path, what: str, ready: Callable[[int], None]
) -> None:
    # a name of its own: what is there already, under whatever name, is somebody's
    file, name = tempfile.mkstemp(".new", f".{target.name}.", target.parent)
    new = Path(name)
    try:
        with (
            _database(source, "ro") as old,
            _database(new, "rw") as copy,
            setting.output.progress() as progress,
        ):
            task = progress.add_task(what, total=None)
            # one transaction all through: else each commit of chatd's would begin the copy anew
            old.execute("BEGIN")
            old.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            old.backup(
                copy,
                pages=STEP,
                progress=lambda _, left, total: progress.update(
                    task, completed=total - left, total=total
                ),
            )
            copy.execute("PRAGMA journal_mode = DELETE")
            [found] = copy.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise Failed(f"{source} is damaged: {found}")
        ready(file)  # not by its name: who may write in the folder could put another file there
        os.fsync(file)
        _gather(target)
        for left in ("-wal", "-shm", "-journal"):
            Path(f"{target}{left}").unlink(missing_ok=True)
        os.replace(new, target)
        _sync(target.parent)
    finally:
        os.close(file)
        # with what SQLite leaves beside it where it cannot end in order, as on a full disk
        for end in ("", *BESIDE):
            Path(f"{new}{end}").unlink(missing_ok=True)


def _gather(database: Path) -> None:
    """Bring what SQLite has beside ``database`` into the file, where it can be read: until another
    one is in its place, which may fail, nothing that it holds is to be lost."""
    with suppress(Failed), _database(database, "rw") as old:
        old.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _sync(folder: Path) -> None:
    """Let the names in ``folder`` outlast a power cut."""
    names = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(names)
    finally:
        os.close(names)


def _check_ours(path: Path) -> None:
    with _database(path, "ro") as found:
        tables = {name for (name,) in found.execute("SELECT name FROM sqlite_schema")}
    if not {"stream", "record"} <= tables:
        raise Failed(f"{path} is no database of chatd")


@click.command()
@click.argument("database", type=_path)
@click.argument("file", type=_new_path)
@click.option("--force", is_flag=True, help="Write over FILE.")
@pass_setting
def backup(setting: Setting, database: Path, file: Path, force: bool) -> None:
    """Copy a SQLite database to FILE, also while chatd uses it."""
    _check_ours(database)
    _check_apart(database, file)
    if file.exists() and not force:
        raise Failed(f"{file} exists; give --force to write over it")
    # it stays with who made it: a backup holds all that was said
    _copy(setting, database, file, "Backing up", lambda _: None)
    setting.output.done(f"{database} is in {file}", file=str(file), bytes=file.stat().st_size)


@click.command(short_help="Put a backup in the place of a database.")
@click.argument("file", type=_path)
@click.argument("database", type=_new_path)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_setting
def restore(setting: Setting, file: Path, database: Path, yes: bool) -> None:
    """Put a backup in the place of a SQLite database that no chatd uses.

    At its next start chatd notices, and begins a new life of every room.
    """
    _check_ours(file)
    _check_apart(file, database)
    with _unused(database):
        pass  # before the question
    if database.exists() and not yes:
        click.confirm(f"All that {database} holds is lost. Go on?", abort=True, err=True)
    # not in the place of a link: SQLite keeps its files beside what the link leads to
    target = Path(os.path.realpath(database))
    _copy(setting, file, target, "Restoring", lambda new: _give_away(new, target))
    setting.output.done(f"{database} is what {file} holds", database=str(database))


COMMANDS = (backup, restore)
