"""Files change places so that a crash leaves the old ones or the new one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from module_gateway.module_handler import store_files
from module_gateway.module_handler.store_files import (
    REPORT,
    build,
    check_place,
    companions,
    finish_switch,
    set_aside_folders,
    switch,
)
from module_gateway.protocol.errors import StoreError

NOW = datetime(2026, 11, 20, 17, 5, 9, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder / "handler.db"


def write_old(path: Path) -> None:
    for each in companions(path):
        each.write_text(f"old {each.name}")


def fill(draft: Path) -> None:
    draft.write_text("new")


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


def test_a_new_file_takes_the_place_of_none(path: Path) -> None:
    build(path, fill)
    assert switch(path, "new", None, NOW) is None
    assert (["handler.db"], "new") == (names(path), path.read_text())


def test_old_files_are_set_aside_with_a_report(path: Path) -> None:
    write_old(path)
    build(path, fill)
    folder = switch(path, "damaged", {"findings": 3}, NOW)
    assert folder == path.parent / "set-aside" / "20261120T170509Z-damaged"
    assert folder is not None
    assert {"findings": 3} == json.loads((folder / REPORT).read_text())
    assert [f"old {each.name}" for each in companions(path)] == [
        (folder / each.name).read_text() for each in companions(path)
    ]
    assert (["handler.db", "set-aside"], "new") == (names(path), path.read_text())
    assert 0o700 == folder.stat().st_mode & 0o777


def test_two_repairs_of_one_second_have_two_folders(path: Path) -> None:
    for _ in range(3):
        write_old(path)
        build(path, fill)
        switch(path, "damaged", {}, NOW)
    stem = "20261120T170509Z-damaged"
    assert [stem, f"{stem}-2", f"{stem}-3"] == [each.name for each in set_aside_folders(path)]


def test_a_build_that_fails_leaves_the_old_files(path: Path) -> None:
    write_old(path)
    before = names(path)

    def fail(draft: Path) -> None:
        for each in companions(draft):
            each.write_text("half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        build(path, fail)
    assert (before, "old handler.db") == (names(path), path.read_text())


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("steps", range(12))
def test_a_crash_anywhere_leaves_the_old_files_or_the_new_one(
    steps: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change of a name may be the last one before the crash."""
    write_old(path)
    real, left = Path.rename, steps

    def rename(self: Path, target: Path) -> Path:
        nonlocal left
        if not left:
            raise Crash
        left -= 1
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(store_files.Path, "rename", rename)
        patched.setattr(store_files, "_remove", lambda _: None)
        try:
            build(path, fill)
            switch(path, "damaged", {"findings": 1}, NOW)
        except Crash:
            pass
    finish_switch(path, NOW)
    if steps:
        assert "new" == path.read_text()
        assert not any(each.exists() for each in companions(path)[1:])
        kept = [each.name for folder in set_aside_folders(path) for each in folder.iterdir()]
        assert {each.name for each in companions(path)} <= set(kept)
    else:
        assert [f"old {each.name}" for each in companions(path)] == [
            each.read_text() for each in companions(path)
        ]
    assert not [name for name in names(path) if name.endswith((".new", ".building"))]


def test_nothing_is_to_be_finished_after_a_normal_end(path: Path) -> None:
    write_old(path)
    finish_switch(path, NOW)
    assert 3 == len(names(path))


def test_a_folder_in_the_place_of_the_store_is_named(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match=r"handler\.db is a folder; move it away, or choose"):
        check_place(path)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StoreError, match=r"store of the store cannot be made \(File exists\)"):
        check_place(tmp_path / "store" / "handler.db")


@pytest.mark.parametrize(
    ("denied", "words"),
    [
        ("store", "the folder .* of the store cannot be written; give this user the right"),
        ("handler.db", r"handler\.db cannot be read and written; give this user the right"),
        ("handler.db-wal", r"handler\.db-wal cannot be read and written"),
    ],
)
def test_missing_rights_are_named(
    denied: str, words: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_old(path)
    monkeypatch.setattr(store_files.os, "access", lambda each, _: Path(each).name != denied)
    with pytest.raises(StoreError, match=words):
        check_place(path)


def test_a_folder_that_is_missing_is_made_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "store" / "handler.db"
    check_place(path)
    assert 0o700 == path.parent.stat().st_mode & 0o777
