"""What lies around the store: its files, what was set aside, and who has it open."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from module_gateway.module_handler.store_lock import lock_path

SET_ASIDE_FOLDER: Final = "set-aside"
REPORT_FILE: Final = "report.json"

_LOCKS: Final = Path("/proc/locks")
_PID_CHARS: Final = 32


@dataclass(frozen=True, slots=True)
class SetAside:
    """A folder with what a repair took out of use.

    Attributes:
        path: of the folder; its name begins with the time.
        size_bytes: of everything in it.
        report: what `report.json` says, empty when it cannot be read.
    """

    path: Path
    size_bytes: int
    report: dict[str, Any]


def file_sizes(path: Path) -> dict[str, int]:
    """The database at `path` and what SQLite keeps beside it: name → bytes."""
    found: dict[str, int] = {}
    for suffix in ("", "-wal", "-shm"):
        name = path.with_name(path.name + suffix)
        try:
            found[name.name] = name.stat().st_size
        except OSError:
            continue
    return found


def set_aside(path: Path) -> list[SetAside]:
    """Everything that was set aside of the store at `path`, oldest first."""
    try:
        folders = sorted(each for each in (path.parent / SET_ASIDE_FOLDER).iterdir())
    except OSError:
        return []
    return [
        SetAside(folder, _size_bytes(folder), _report(folder))
        for folder in folders
        if folder.is_dir()
    ]


def holder_pid(path: Path) -> int | None:
    """The process that has the store at `path` open, None when nobody has; 0: it does not say.

    Looks without touching: taking the lock, for a moment only, could stop a handler that starts.
    """
    try:
        descriptor = os.open(lock_path(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.pread(descriptor, _PID_CHARS, 0).decode(errors="replace").strip()
        pid = int(text) if text.isascii() and text.isdigit() else 0
        return pid if _is_locked(descriptor) else None
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    """Whether somebody has an flock on the file: the kernel's list says so, else an attempt."""
    inode = str(os.fstat(descriptor).st_ino)
    try:
        lines = _LOCKS.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False
    words = [line.split() for line in lines]
    # "1: FLOCK  ADVISORY  WRITE 1234 08:01:56789 0 EOF" (proc(5)); "->" begins who waits
    return any(
        len(each) > 5 and each[1] == "FLOCK" and each[5].rpartition(":")[2] == inode  # noqa: PLR2004
        for each in words
    )


def _size_bytes(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def _report(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
