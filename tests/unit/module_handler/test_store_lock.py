"""One process, one store (R4)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from module_gateway.module_handler.store_lock import StoreLock, lock_path
from module_gateway.protocol.errors import StoreError


def test_R4_the_second_is_told_who_holds_it_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "handler.db"
    lock = StoreLock(path)
    with pytest.raises(StoreError) as caught:
        StoreLock(path)
    assert f"{path} is in use by process {os.getpid()}; stop it first" in str(caught.value)
    lock.release()
    StoreLock(path).release()


def test_R4_the_lock_ends_with_its_process_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "handler.db"
    source = (
        "import sys, pathlib\n"
        "from module_gateway.module_handler.store_lock import StoreLock\n"
        "lock = StoreLock(pathlib.Path(sys.argv[1]))\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", source, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert b"locked\n" == other.stdout.readline()
        with pytest.raises(StoreError, match=f"in use by process {other.pid}"):
            StoreLock(path)
        other.kill()
        other.wait(10)
    StoreLock(path).release()


def test_the_lock_file_stays_and_names_its_last_holder(tmp_path: Path) -> None:
    path = tmp_path / "handler.db"
    lock_path(path).write_text("a longer text than any process id has\n")
    StoreLock(path).release()
    assert f"{os.getpid()}\n" == lock_path(path).read_text()
    assert tmp_path / "handler.lock" == lock_path(path)


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    path = tmp_path / "handler.db"
    lock_path(path).mkdir()
    with pytest.raises(StoreError, match=r"handler\.lock cannot be opened"):
        StoreLock(path)
