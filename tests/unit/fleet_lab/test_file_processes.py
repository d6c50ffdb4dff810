from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet_lab.faults import ComposeService, Foreign, Process
from fleet_lab.file_processes import COMPONENTS, read_processes
from fleet_lab.tables import Table


def _read(*rows: dict[str, Any], folder: Path = Path()) -> tuple[dict[str, Process], list[str]]:
    table = Table({"process": list(rows)}, "", [])
    return read_processes(table, folder), table.problems


def test_a_process_is_found_by_pid_or_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "b.pid").write_text("345", encoding="utf-8")
    found, problems = _read(
        {"name": "a", "pid": 1234}, {"name": "b", "pid-file": "b.pid"}, folder=tmp_path
    )

    assert problems == []
    assert [process.find() for process in found.values() if isinstance(process, Foreign)] == [
        1234, 345
    ]  # fmt: skip


def test_a_gateway_is_found_by_its_state_directory(tmp_path: Path) -> None:
    (tmp_path / "state" / "run").mkdir(parents=True)
    (tmp_path / "state" / "run" / "module_handler.json").write_text('{"pid": 77}')
    found, problems = _read({"name": "gateway", "state-dir": "state"}, folder=tmp_path)
    handler = found["gateway.module_handler"]

    assert problems == []
    assert list(found) == [f"gateway.{component}" for component in COMPONENTS]
    assert isinstance(handler, Foreign)
    assert handler.find() == 77
    assert handler.is_supervised


def test_a_compose_service_has_its_file_and_its_name(tmp_path: Path) -> None:
    found, problems = _read(
        {"name": "broker", "compose": "docker-compose.yml", "service": "mosquitto"},
        folder=tmp_path,
    )
    service = found["broker"]

    assert problems == []
    assert isinstance(service, ComposeService)
    assert (service.file, service.service) == (tmp_path / "docker-compose.yml", "mosquitto")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"name": "a"}, "process[0]: a process is found by exactly one of pid, pid-file"),
        ({"name": "a", "pid": 9, "pid-file": "x"}, "process[0]: a process is found by exactly one"),
        ({"pid": 9}, "process[0].name: is missing"),
        ({"name": "a", "pid": 1}, "process[0].pid: expected a whole number from 2"),
        ({"name": "a", "compose": "x"}, "process[0].service: is missing"),
        ({"name": "a", "pid": 9, "service": "x"}, "process[0].service: belongs to compose"),
        ({"name": "a", "pid": 9, "pidfile": "x"}, "process[0].pidfile: unknown key"),
    ],
)
def test_what_is_wrong_names_its_key(row: dict[str, Any], problem: str) -> None:
    _, problems = _read(row)

    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_names_are_unique() -> None:
    _, problems = _read({"name": "a", "pid": 8}, {"name": "a", "pid": 9})

    assert problems == ["process[1].name: there is another process 'a'"]
