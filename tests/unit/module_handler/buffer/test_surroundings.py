"""What lies around a store, seen without touching it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from module_gateway.module_handler.buffer import surroundings
from module_gateway.module_handler.buffer.surroundings import (
    SetAside,
    file_sizes,
    holder_pid,
    set_aside,
)
from module_gateway.module_handler.store_lock import StoreLock, lock_path


@pytest.fixture(params=["the kernel's list", "an attempt"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "an attempt":
        monkeypatch.setattr(surroundings, "_LOCKS", tmp_path / "no such file")
    return tmp_path / "handler.db"


def test_nobody_has_a_store_that_was_never_opened(path: Path) -> None:
    assert holder_pid(path) is None


def test_who_has_it_open_is_known_by_its_lock(path: Path) -> None:
    lock = StoreLock(path)
    assert os.getpid() == holder_pid(path)
    lock.release()
    assert holder_pid(path) is None


def test_the_note_of_a_process_that_was_killed_means_nothing(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from module_gateway.module_handler.store_lock import StoreLock\n"
        "lock = StoreLock(Path(sys.argv[1])); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=30)
    assert lock_path(path).read_text().strip().isdigit()
    assert holder_pid(path) is None


def test_a_holder_without_a_number_is_told_as_unknown(path: Path) -> None:
    lock = StoreLock(path)
    lock_path(path).write_text("?")
    assert 0 == holder_pid(path)
    lock.release()


def test_the_database_and_what_sqlite_keeps_beside_it_have_sizes(path: Path) -> None:
    assert {} == file_sizes(path)
    path.write_bytes(b"12345")
    path.with_name("handler.db-wal").write_bytes(b"1")
    path.with_name("other").write_bytes(b"1")
    assert {"handler.db": 5, "handler.db-wal": 1} == file_sizes(path)


def test_what_was_set_aside_is_listed_with_its_report(tmp_path: Path) -> None:
    path = tmp_path / "handler.db"
    assert [] == set_aside(path)
    first, second, third = (
        tmp_path / "set-aside" / name for name in ("2026-a", "2026-b", "2026-c")
    )
    for folder, text in ((second, "{"), (first, json.dumps({"reason": "crc"})), (third, "[]")):
        folder.mkdir(parents=True)
        (folder / "report.json").write_text(text)
    (first / "handler.db").write_bytes(b"1234")
    (tmp_path / "set-aside" / "a file").write_bytes(b"")
    assert [
        SetAside(first, 21, {"reason": "crc"}),
        SetAside(second, 1, {}),
        SetAside(third, 2, {}),
    ] == set_aside(path)
