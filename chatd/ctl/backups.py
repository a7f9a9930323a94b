"""``backup`` and ``restore`` of SQLite (docs/backup.rst)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import click

from chatd.ctl.api import Failed
from chatd.ctl.setting import Setting, pass_setting
from chatd.errors import StartError

#: Pages that are copied at a time.
STEP = 500

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


def _copy(setting: Setting, source: Path, target: Path, what: str) -> None:
    """Copy one moment of the database ``source``, which may be in use, to ``target``, whole or
    not at all. What SQLite had beside an older ``target`` goes with it."""
    new = target.with_name(f"{target.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
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
        for left in ("-wal", "-shm"):
            Path(f"{target}{left}").unlink(missing_ok=True)
        os.replace(new, target)
    finally:
        with suppress(FileNotFoundError):
            new.unlink()


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
    if file.exists() and not force:
        raise Failed(f"{file} exists; give --force to write over it")
    _copy(setting, database, file, "Backing up")
    setting.output.done(f"{database} is in {file}", file=str(file), bytes=file.stat().st_size)


@click.command()
@click.argument("file", type=_path)
@click.argument("database", type=_new_path)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_setting
def restore(setting: Setting, file: Path, database: Path, yes: bool) -> None:
    """Put a backup in the place of a SQLite database that no chatd uses.

    At its next start chatd notices, and begins a new life of every room.
    """
    # brings Twisted, for which no other command is to wait
    from chatd.brokers import registry

    _check_ours(file)
    try:
        registry.preflight(f"sqlite:{database}")
    except StartError as error:
        raise Failed(str(error)) from None
    if database.exists() and not yes:
        click.confirm(f"All that {database} holds is lost. Go on?", abort=True, err=True)
    _copy(setting, file, database, "Restoring")
    setting.output.done(f"{database} is what {file} holds", database=str(database))


COMMANDS = (backup, restore)
