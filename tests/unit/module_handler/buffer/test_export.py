"""Lines go where they are asked for, and a file has its name when it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from module_gateway.module_handler.buffer.export import Exported, target, write_lines
from module_gateway.module_handler.buffer.lines import entry_of
from module_gateway.module_handler.buffer.view import Damaged
from module_gateway.module_handler.outbox import Entry
from module_gateway.protocol.errors import StoreError
from tests.unit.module_handler.buffer.stores import B, entry


def test_each_entry_is_a_line_and_what_is_damaged_is_said() -> None:
    lines: list[str] = []
    said: list[str] = []
    found = [entry(1), Damaged(2, "wrong CRC"), entry(3, B)]
    assert Exported(2, 1) == write_lines(found, lines.append, said.append)
    assert [entry(1), entry(3, B)] == [entry_of(line) for line in lines]
    assert ["entry 2 is damaged: wrong CRC\n"] == said


def test_a_file_is_private_and_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with target(path) as write:
        write("new\n")
        assert "old" == path.read_text()
    assert "new\n" == path.read_text()
    assert 0o600 == path.stat().st_mode & 0o777
    assert [path] == list(tmp_path.iterdir())


def test_an_export_that_fails_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")

    def damaged_entries() -> Iterator[Entry]:
        yield entry(1)
        raise StoreError("no further")

    with pytest.raises(StoreError), target(path) as write:
        write_lines(damaged_entries(), write, print)
    assert "old" == path.read_text()
    assert [path] == list(tmp_path.iterdir())


def test_without_a_file_it_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with target(None) as write:
        write("line\n")
    assert "line\n" == capsys.readouterr().out
