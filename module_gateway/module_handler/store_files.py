"""The store's files: where they lie, and how another file takes the place of a bad one.

A new file is built beside the old one, made permanent, and put in its place in steps that a crash
may end anywhere: the next start finds either the old files or the new one, whole.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from module_gateway.module_handler.store_schema import sync_folder
from module_gateway.protocol.errors import StoreError

PRIVATE: Final = 0o700
"""Only the gateway's user reads what devices said."""

SET_ASIDE: Final = "set-aside"
"""Folder beside the store; each repair leaves a folder with the old files and `report.json`."""

REPORT: Final = "report.json"


def companions(path: Path) -> tuple[Path, Path, Path]:
    """The database, its write-ahead log and the log's index."""
    return path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def _building(path: Path) -> Path:
    return path.with_name(path.name + ".building")


def _finished(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def check_place(path: Path) -> None:
    """Make the store's folder, and see whether files in it can be used.

    Raises:
        StoreError: they cannot; its text says what to do.
    """
    folder = path.parent
    try:
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the folder {folder} of the store cannot be made ({error.strerror}); give this user "
            "the right to write there, or choose another --state-dir"
        ) from error
    if path.is_dir():
        raise StoreError(
            f"the store {path} is a folder; move it away, or choose another --state-dir"
        )
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StoreError(
            f"the folder {folder} of the store cannot be written; give this user the right to "
            "write there, or choose another --state-dir"
        )
    for each in companions(path):
        if each.exists() and not os.access(each, os.R_OK | os.W_OK):
            raise StoreError(
                f"{each} cannot be read and written; give this user the right to do so, or choose "
                "another --state-dir"
            )


def build(path: Path, fill: Callable[[Path], None]) -> None:
    """Make a complete new database beside the store; `switch` puts it in place.

    Args:
        path: of the store.
        fill: writes a database at the path that it gets, and closes it.

    Raises:
        OSError, sqlite3.Error: it cannot be written; nothing has changed.
    """
    draft = _building(path)
    _remove(draft)
    try:
        fill(draft)
        _sync_file(draft)
    except BaseException:
        _remove(draft)
        raise
    draft.rename(_finished(path))
    sync_folder(path.parent)


def copy_of(connection: sqlite3.Connection) -> Callable[[Path], None]:
    """For `build`: everything that was committed, page by page."""

    def fill(draft: Path) -> None:
        target = sqlite3.connect(draft, isolation_level=None)
        try:
            target.execute("PRAGMA synchronous = OFF")
            connection.backup(target)
        finally:
            target.close()

    return fill


def switch(
    path: Path, reason: str, report: Mapping[str, object] | None, now: datetime
) -> Path | None:
    """Put the file that was built in the place of the store.

    Nobody has the old files open any more.

    Args:
        path: of the store.
        reason: one word for the name of the folder with the old files.
        report: kept with the old files; None for a new store, which has no old ones.
        now: the wall time.

    Returns:
        Where the old files are now, None when there were none.

    Raises:
        OSError: the folder cannot be written; `finish_switch` goes on later.
    """
    folder = None
    if report is not None:
        folder = _folder_for(path, f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{reason}")
        text = json.dumps(report, indent=2) + "\n"
        (folder / REPORT).write_text(text, encoding="utf-8")
        _sync_file(folder / REPORT)
        for each in companions(path):
            if each.exists():
                each.rename(folder / each.name)
        sync_folder(folder)
        sync_folder(folder.parent)
    _finished(path).rename(path)
    sync_folder(path.parent)
    return folder


def finish_switch(path: Path, now: datetime) -> None:
    """What a crash has left of a `build` or a `switch` is removed or finished.

    Raises:
        OSError: the folder cannot be written.
    """
    _remove(_building(path))
    if _finished(path).exists():
        is_moved = any(each.exists() for each in companions(path))
        report = {"reason": "a repair was cut off; its report lies in an older folder"}
        switch(path, "cut-off", report if is_moved else None, now)


def set_aside_folders(path: Path) -> Sequence[Path]:
    """What earlier repairs have left, oldest first."""
    folder = path.parent / SET_ASIDE
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _folder_for(path: Path, name: str) -> Path:
    parent = path.parent / SET_ASIDE
    parent.mkdir(mode=PRIVATE, exist_ok=True)
    sync_folder(path.parent)
    for suffix in ["", *(f"-{number}" for number in range(2, 1_000))]:
        folder = parent / (name + suffix)
        try:
            folder.mkdir(mode=PRIVATE)
        except FileExistsError:
            continue
        return folder
    raise StoreError(f"{parent} has too many folders of one second; remove some")


def _remove(path: Path) -> None:
    for each in (*companions(path), path.with_name(path.name + "-journal")):
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink(missing_ok=True)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
