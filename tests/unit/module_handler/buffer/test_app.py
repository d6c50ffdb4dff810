"""The command line of `module-gateway buffer` while no gateway runs."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from module_gateway.module_handler.buffer import app
from module_gateway.module_handler.buffer.app import main
from module_gateway.module_handler.buffer.lines import entry_of
from module_gateway.module_handler.records import encode
from module_gateway.protocol.errors import BusError
from module_gateway.runtime.settings import Logging
from tests.unit.module_handler.buffer.stores import (
    OTHER,
    A,
    B,
    appended,
    committed,
    entry,
    store_at,
)


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def logging(monkeypatch: pytest.MonkeyPatch) -> list[Logging]:
    """How the log was to be; the process' own log is left alone."""
    told: list[Logging] = []
    monkeypatch.setattr(app, "configure", lambda settings, _component: told.append(settings))
    return told


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[MutableMapping[str, Any]]]:
    """What was logged."""
    with capture_logs() as found:
        yield found


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A configuration with the modules 7 and 8, and its state folder."""
    config = {
        "config-version": 1,
        "module-paths": {"7": "example", "8": "example"},
        "external-connection": {"endpoints": []},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path / "state"


@pytest.fixture
def buffer(state: Path, logging: list[Logging]) -> Callable[..., int]:
    def run(command: str, *words: str) -> int:
        config = str(state.parent / "config.json")
        return main([command, "--config", config, "--state-dir", str(state), *words])

    return run


def fill(state: Path) -> None:
    changes = appended([entry(1, A, 100), entry(2, B, 50), entry(3, OTHER, 20)])
    asyncio.run(committed(store_at(state), *changes))


def waiting(buffer: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> list[bytes]:
    capsys.readouterr()
    assert 0 == buffer("export")
    return [entry_of(line).status for line in capsys.readouterr().out.splitlines()]


def test_stat_answers_people_and_scripts(
    state: Path, buffer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(state)
    assert 0 == buffer("stat")
    assert "3 entries of 3 devices" in capsys.readouterr().out
    assert 0 == buffer("stat", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (3, False) == (found["entries"], "devices" in found)
    assert 0 == buffer("stat", "--json", "--devices")
    assert 3 == len(json.loads(capsys.readouterr().out)["devices"])


def test_export_writes_lines_to_a_file_or_out(
    state: Path, tmp_path: Path, buffer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(state)
    file = tmp_path / "out.jsonl"
    assert 0 == buffer("export", "--output", str(file), "--module", "7", "--device", "7/0/a")
    said = capsys.readouterr()
    assert ("", "module-gateway buffer: 1 entries are written\n") == (said.out, said.err)
    assert [A] == [entry_of(line).device for line in file.read_text().splitlines()]
    assert 3 == len(waiting(buffer, capsys))
    assert 0 == buffer("export", "--since", "2000-01-01T00:00:00Z", "--module", "8")
    assert 1 == len(capsys.readouterr().out.splitlines())


def test_what_was_purged_can_be_put_back_from_its_export(
    state: Path, tmp_path: Path, buffer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(state)
    before = waiting(buffer, capsys)
    file = str(tmp_path / "out.jsonl")
    assert 0 == buffer("export", "--output", file)
    assert 0 == buffer("purge", "--all", "--yes")
    assert capsys.readouterr().out == "3 entries of 3 devices (792 B) are gone\n"
    assert [] == waiting(buffer, capsys)
    assert 0 == buffer("replay", file, "--module", "7")
    assert capsys.readouterr().out == "2 entries are back in the buffer\n"
    assert 0 == buffer("replay", file, "--module", "8", "--json")
    assert {"entries": 1} == json.loads(capsys.readouterr().out)
    again = waiting(buffer, capsys)
    assert set(before) == set(again)
    assert 6 == len(again), "each device has left, which the control plane must hear"


def test_a_purge_asks_and_takes_no_for_an_answer(
    state: Path,
    buffer: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(state)
    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    assert 1 == buffer("purge", "--module", "7")
    said = capsys.readouterr().err
    assert "2 entries of 2 devices (528 B) will be gone and never be delivered. Go on?" in said
    assert "nothing is changed" in said
    assert 3 == len(waiting(buffer, capsys))
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert 0 == buffer("purge", "--module", "7", "--json")
    assert {"entries": 2, "devices": 2, "bytes": 528} == json.loads(capsys.readouterr().out)
    assert 1 == len(waiting(buffer, capsys))


def test_a_purge_leaves_a_line_in_the_log(
    state: Path, buffer: Callable[..., int], lines: list[MutableMapping[str, Any]]
) -> None:
    fill(state)
    buffer("purge", "--yes", "--device", "7/0/a", "--older-than", "2100-01-01")
    assert [
        {
            "event": "buffer_purged",
            "log_level": "warning",
            "what": "--device 7/0/a --older-than 2100-01-01T00:00:00.000Z: "
            "1 entries of 1 devices (264 B)",
            "stretches": 1,
            "by": "this command",
        }
    ] == lines


def test_a_purge_of_nothing_asks_nothing(
    state: Path,
    buffer: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(state)
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert 0 == buffer("purge", "--older-than", "2000-01-01")
    assert capsys.readouterr() == ("nothing of that waits\n", "")


def test_without_a_terminal_a_purge_wants_a_yes(
    state: Path,
    buffer: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(state)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert 2 == buffer("purge", "--all")
    assert "say --yes" in capsys.readouterr().err
    assert 3 == len(waiting(buffer, capsys))


@pytest.mark.parametrize("words", [[], ["--all", "--module", "7"], ["--older-than", "1h", "--all"]])
def test_a_purge_must_be_told_what(
    words: list[str], buffer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == buffer("purge", "--yes", *words)
    assert "--all alone" in capsys.readouterr().err


def test_without_a_store_there_is_nothing_to_export(
    buffer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert 1 == buffer("export")
    assert "there is no store at" in capsys.readouterr().err


def test_a_file_that_cannot_be_replayed_changes_nothing(
    state: Path, tmp_path: Path, buffer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(state)
    file = tmp_path / "out.jsonl"
    assert 1 == buffer("replay", str(file))
    assert "No such file" in capsys.readouterr().err
    assert 0 == buffer("export", "--output", str(file))
    with file.open("a") as opened:
        opened.write("{}\n")
    assert 1 == buffer("replay", str(file))
    assert "out.jsonl line 4: " in capsys.readouterr().err
    assert 3 == len(waiting(buffer, capsys))


def test_a_replay_that_breaks_says_how_far_it_came(
    state: Path,
    tmp_path: Path,
    buffer: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(state)
    file = tmp_path / "out.jsonl"
    assert 0 == buffer("export", "--output", str(file))

    async def broken(*_arguments: object) -> None:
        raise BusError("the bus is gone")

    monkeypatch.setattr(app.replay, "carry_out", broken)
    assert 1 == buffer("replay", str(file))
    assert "the bus is gone; 0 of 3 entries are back" in capsys.readouterr().err


def damage(state: Path) -> None:
    """The record of the second of the three entries."""
    path = store_at(state)
    content = bytearray(path.read_bytes())
    content[content.rindex(encode(entry(2, B, 50))) + 8] ^= 1
    path.write_bytes(content)


def test_check_and_repair_of_a_sound_store(
    state: Path, buffer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(state)
    assert 0 == buffer("check")
    assert "records are intact, 3 of them entries" in capsys.readouterr().out
    assert 0 == buffer("check", "--json")
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert 0 == buffer("repair")
    assert capsys.readouterr().out == "nothing is damaged\n"
    assert 0 == buffer("repair", "--json")
    assert json.loads(capsys.readouterr().out)["repaired"] is False


def test_damage_is_1_until_it_is_repaired_and_stays_readable(
    state: Path, tmp_path: Path, buffer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(state)
    damage(state)
    assert 1 == buffer("export")
    assert "1 are damaged" in capsys.readouterr().err
    assert 1 == buffer("check")
    assert "a record is damaged: wrong CRC" in capsys.readouterr().out
    assert 1 == buffer("check", "--json")
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert ("database", True) == (finding["part"], finding["offset"] > 0)
    assert 0 == buffer("repair", "--json")
    folder = json.loads(capsys.readouterr().out)["set_aside"]
    assert 0 == buffer("check")
    assert 2 == len(waiting(buffer, capsys))
    assert 0 == buffer("export", "--from", folder, "--module", "7")
    assert [A] == [entry_of(line).device for line in capsys.readouterr().out.splitlines()]
    assert 0 == buffer("purge", "--all", "--yes")
    capsys.readouterr()
    assert 0 == buffer("replay", folder, "--json")
    assert {"entries": 2} == json.loads(capsys.readouterr().out)


def test_repair_says_where_the_damaged_files_are(
    state: Path, buffer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(state)
    damage(state)
    assert 0 == buffer("repair")
    assert f"what was damaged is in {store_at(state).parent}" in capsys.readouterr().out


def test_a_configuration_that_cannot_be_used_is_78(
    tmp_path: Path, logging: list[Logging], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"config-version": 1, "stat-dir": ""}')
    with pytest.raises(SystemExit) as ended:
        main(["stat", "--config", str(file)])
    assert 78 == ended.value.code
    assert "state-dir" in capsys.readouterr().err


def test_a_bus_that_cannot_be_right_is_78(
    state: Path, buffer: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> int:
        raise app.ConfigError("bus.socket", got="x", expected="y")

    monkeypatch.setattr(app.stat_report, "report", refuse)
    assert 78 == buffer("stat")


@pytest.mark.parametrize(
    "words",
    [[], ["stats"], ["stat", "--module", "7"], ["export", "--older-than", "1h"], ["replay"],
     ["purge", "--device", "a"], ["export", "--since", "x"], ["stat", "--js"]],
)  # fmt: skip
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert 2 == ended.value.code
    assert "usage: module-gateway buffer" in capsys.readouterr().err


def test_only_warnings_reach_the_console_unless_more_is_asked_for(
    buffer: Callable[..., int], logging: list[Logging]
) -> None:
    buffer("stat")
    buffer("stat", "--log-level", "debug")
    assert ["WARNING", "DEBUG"] == [each.console.level for each in logging]
