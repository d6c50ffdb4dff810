"""What an error of SQLite or the system means, and what people are told."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import NamedTuple

import pytest

from module_gateway.module_handler import store_troubles
from module_gateway.module_handler.records import RecordError
from module_gateway.module_handler.store_troubles import Trouble, sentence, trouble_of


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite says")
    error.sqlite_errorcode = code
    return error


IO_FSYNC = sqlite3.SQLITE_IOERR | 4 << 8
CANNOT_OPEN_FULL = sqlite3.SQLITE_CANTOPEN


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RecordError(1, "wrong CRC"), Trouble.DAMAGED),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), Trouble.DAMAGED),
        (sqlite_error(sqlite3.SQLITE_CORRUPT | 1 << 8), Trouble.DAMAGED),
        (sqlite_error(sqlite3.SQLITE_NOTADB), Trouble.DAMAGED),
        (sqlite3.OperationalError("no such column"), Trouble.DAMAGED),
        (sqlite_error(sqlite3.SQLITE_FULL), Trouble.NO_SPACE),
        (sqlite_error(sqlite3.SQLITE_IOERR), Trouble.INPUT_OUTPUT),
        (sqlite_error(IO_FSYNC), Trouble.INPUT_OUTPUT),
        (sqlite_error(sqlite3.SQLITE_BUSY), Trouble.REFUSED),
        (sqlite_error(sqlite3.SQLITE_READONLY), Trouble.REFUSED),
        (sqlite_error(sqlite3.SQLITE_CANTOPEN), Trouble.REFUSED),
        (OSError(errno.ENOSPC, "full"), Trouble.NO_SPACE),
        (OSError(errno.EDQUOT, "quota"), Trouble.NO_SPACE),
        (OSError(errno.EIO, "disk"), Trouble.INPUT_OUTPUT),
        (OSError(errno.EACCES, "rights"), Trouble.REFUSED),
    ],
)
def test_every_error_means_one_trouble(error: Exception, expected: Trouble, tmp_path: Path) -> None:
    assert expected is trouble_of(error, tmp_path)


class Room(NamedTuple):
    f_bavail: int
    f_frsize: int = 4096


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN])
def test_a_full_disk_is_told_from_a_bad_one(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_troubles.os, "statvfs", lambda _: Room(15))
    assert Trouble.NO_SPACE is trouble_of(sqlite_error(code), tmp_path)
    monkeypatch.setattr(store_troubles.os, "statvfs", lambda _: Room(16))
    assert Trouble.NO_SPACE is not trouble_of(sqlite_error(code), tmp_path)


def test_a_folder_that_cannot_be_asked_is_not_full(tmp_path: Path) -> None:
    error = sqlite_error(sqlite3.SQLITE_IOERR)
    assert Trouble.INPUT_OUTPUT is trouble_of(error, tmp_path / "gone")


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (Trouble.NO_SPACE, ("no space left", "goes on by itself")),
        (Trouble.INPUT_OUTPUT, ("disk", "copied to a new file")),
        (Trouble.DAMAGED, ("damaged", "what is intact")),
        (Trouble.REFUSED, ("cannot be used", "rights of its folder")),
    ],
)
def test_a_sentence_says_what_where_and_what_helps(
    trouble: Trouble, words: tuple[str, str]
) -> None:
    text = sentence(trouble, OSError("the error"), Path("/state/handler.db"))
    assert all(each in text for each in (*words, "/state/handler.db", "the error"))
