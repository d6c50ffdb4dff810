"""The processes of a fleet file: how the scenario finds what it kills, pauses or restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fleet_lab.faults import ComposeService, Foreign, Process, pid_of_file
from fleet_lab.tables import Table

COMPONENTS: Final = ("internal_server", "module_handler", "external_client", "control_plane")
"""Components of a gateway that leave a run note in `<state-dir>/run/<component>.json`."""
RUN_FOLDER: Final = "run"
_WAYS: Final = ("pid", "pid-file", "state-dir", "compose")
_PID_MAX: Final = 2**22
"""Linux' own limit (proc(5))."""


def read_processes(table: Table, folder: Path) -> dict[str, Process]:
    """All of `process`, by the names that steps use; paths start at the file's folder."""
    found: dict[str, Process] = {}
    for row in table.rows("process"):
        name = row.text("name", is_required=True)
        processes = _processes(row, name or "", folder)
        row.close()
        for known in found.keys() & processes.keys():
            row.problem("name", f"there is another process {known!r}")
        found.update(processes)
    return found


def _processes(row: Table, name: str, folder: Path) -> dict[str, Process]:
    ways = [way for way in _WAYS if way in row]
    if len(ways) != 1:
        row.problem(None, f"a process is found by exactly one of {', '.join(_WAYS)}")
    pid = row.whole("pid", 2, _PID_MAX)
    pid_file = _path(row, "pid-file", folder)
    state_dir = _path(row, "state-dir", folder)
    compose = _path(row, "compose", folder)
    service = row.text("service", is_required="compose" in row)
    if "service" in row and "compose" not in row:
        row.problem("service", "belongs to compose")
    if pid is not None:
        return {name: Foreign(name, lambda: pid)}
    if pid_file is not None:
        return {name: Foreign(name, pid_of_file(name, pid_file))}
    if compose is not None:
        return {name: ComposeService(name, compose, service or "")}
    if state_dir is not None:
        return {f"{name}.{part}": _component(f"{name}.{part}", state_dir, part)
                for part in COMPONENTS}  # fmt: skip
    return {}


def _component(name: str, state_dir: Path, component: str) -> Process:
    note = state_dir / RUN_FOLDER / f"{component}.json"
    return Foreign(name, pid_of_file(name, note), is_supervised=True)


def _path(row: Table, key: str, folder: Path) -> Path | None:
    text = row.text(key)
    return None if text is None else folder / Path(text).expanduser()
