"""What is wrong when SQLite or the system refuses, in one sentence, and what helps."""

from __future__ import annotations

import errno
import os
import sqlite3
from enum import Enum, unique
from pathlib import Path
from typing import Final

from module_gateway.module_handler.records import RecordError

_PRIMARY: Final = 0xFF
"""An extended result code of SQLite has its primary one in the low byte."""

_MIN_FREE_BYTES: Final = 64 * 1024
"""With less than this SQLite cannot even make the index of its log (32 KiB)."""


@unique
class Trouble(Enum):
    """What has to happen before the store works again."""

    NO_SPACE = "no space left"
    """Nothing but space: what failed was rolled back."""
    INPUT_OUTPUT = "io-error"
    """The file must not be synced again: after a failed sync nobody knows what is on the disk,
    and the next sync would say that all is well."""
    DAMAGED = "damaged"
    """What is intact must be put together anew."""
    REFUSED = "refused"
    """Somebody has to change rights, or end another program."""


def trouble_of(error: Exception, folder: Path) -> Trouble:  # noqa: PLR0911 - one per case
    """What an error means.

    Args:
        error: sqlite3.Error, OSError or RecordError.
        folder: of the store, to ask how much space is left there.
    """
    if isinstance(error, RecordError):
        return Trouble.DAMAGED
    if isinstance(error, OSError):
        return _of_system(error)
    code = getattr(error, "sqlite_errorcode", None)
    primary = sqlite3.SQLITE_ERROR if code is None else code & _PRIMARY
    match primary:
        case sqlite3.SQLITE_FULL:
            return Trouble.NO_SPACE
        case sqlite3.SQLITE_IOERR:
            return Trouble.NO_SPACE if _is_full(folder) else Trouble.INPUT_OUTPUT
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_NOMEM:
            return Trouble.REFUSED
        case sqlite3.SQLITE_PERM | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN:
            return Trouble.NO_SPACE if _is_full(folder) else Trouble.REFUSED
        case _:
            return Trouble.DAMAGED


def sentence(trouble: Trouble, error: Exception, path: Path) -> str:
    """For people: what happened to which file, and what helps."""
    match trouble:
        case Trouble.NO_SPACE:
            return (
                f"no space left for the store {path} ({error}); it goes on by itself as soon as "
                "there is some"
            )
        case Trouble.INPUT_OUTPUT:
            return f"the disk of the store {path} failed ({error}); it is copied to a new file"
        case Trouble.DAMAGED:
            return f"the store {path} is damaged ({error}); what is intact goes to a new file"
        case Trouble.REFUSED:
            return (
                f"the store {path} cannot be used ({error}); see to the rights of its folder, or "
                "end what else has it open"
            )


def _of_system(error: OSError) -> Trouble:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Trouble.NO_SPACE
    return Trouble.INPUT_OUTPUT if error.errno == errno.EIO else Trouble.REFUSED


def _is_full(folder: Path) -> bool:
    try:
        about = os.statvfs(folder)
    except OSError:
        return False
    return about.f_bavail * about.f_frsize < _MIN_FREE_BYTES
