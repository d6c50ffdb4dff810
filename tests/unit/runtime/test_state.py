"""The state folder and its notes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.state import (
    RunNote,
    ensure_state_dir,
    find_state_dir,
    read_run_note,
    remove_run_note,
    run_note_path,
    write_run_note,
)


@pytest.mark.parametrize(
    ("configured", "environ", "expected"),
    [
        (Path("/srv/state"), {"XDG_STATE_HOME": "/xdg"}, "/srv/state"),
        (None, {"XDG_STATE_HOME": "/xdg", "HOME": "/home/a"}, "/xdg/module-gateway"),
        (None, {"HOME": "/home/a"}, "/home/a/.local/state/module-gateway"),
        (None, {"XDG_STATE_HOME": "rel", "HOME": "/h"}, "/h/.local/state/module-gateway"),
    ],
)
def test_where_the_state_is(
    configured: Path | None, environ: dict[str, str], expected: str
) -> None:
    assert str(find_state_dir(configured, environ)) == expected


def test_the_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = ensure_state_dir(tmp_path / "a" / "state")

    assert (path.stat().st_mode & 0o777, (path / "run").is_dir()) == (0o700, True)


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--state-dir"):
        ensure_state_dir(tmp_path / "file" / "state")


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    ensure_state_dir(tmp_path)
    note = RunNote("internal_server", 4711, {"devices": "127.0.0.1:8888"})
    write_run_note(tmp_path, note)

    assert read_run_note(tmp_path, "internal_server") == note
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["internal_server.json"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"component": "x", "pid": "y"}', "null"])
def test_a_note_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    ensure_state_dir(tmp_path)
    run_note_path(tmp_path, "x").write_text(text, encoding="utf-8")

    assert read_run_note(tmp_path, "x") is None


def test_a_process_takes_away_only_its_own_note(tmp_path: Path) -> None:
    ensure_state_dir(tmp_path)
    note = RunNote("x", os.getpid(), {})
    write_run_note(tmp_path, note)
    remove_run_note(tmp_path, "x", pid=1)
    assert read_run_note(tmp_path, "x") == note

    remove_run_note(tmp_path, "x", os.getpid())
    assert read_run_note(tmp_path, "x") is None
