from __future__ import annotations

from pathlib import Path

from module_gateway.bus.location import BusLocation
from module_gateway.observe.bus_place import running_bus
from module_gateway.runtime.settings import BusSettings
from module_gateway.runtime.state import RunNote, ensure_state_dir, write_run_note

PID = 4711


def running(folder: Path, variables: bytes) -> tuple[Path, Path]:
    """A state folder with the note of a process, and what the system shows of it."""
    state = ensure_state_dir(folder / "state")
    write_run_note(state, RunNote("internal_server", PID, {}))
    (folder / f"proc/{PID}").mkdir(parents=True)
    (folder / f"proc/{PID}/environ").write_bytes(variables)
    return state, folder / "proc"


def test_the_bus_is_where_the_running_processes_were_told(tmp_path: Path) -> None:
    told = b"HOME=/\0IPC_MQTT_HOST=127.0.0.1\0IPC_MQTT_PORT=18831\0"
    state, proc = running(tmp_path, told)
    assert running_bus(BusSettings(), state, {}, proc) == BusLocation(None, "127.0.0.1", 18831)


def test_what_the_operator_says_comes_first(tmp_path: Path) -> None:
    state, proc = running(tmp_path, b"IPC_MQTT_HOST=127.0.0.1\0IPC_MQTT_PORT=18831\0")
    environ = {"IPC_MQTT_SOCKET": "/other/bus.sock"}
    found = running_bus(BusSettings(), state, environ, proc)
    assert found == BusLocation(Path("/other/bus.sock"))


def test_without_a_running_process_it_is_found_as_ever(tmp_path: Path) -> None:
    state = ensure_state_dir(tmp_path / "state")
    found = running_bus(BusSettings(), state, {}, tmp_path)
    write_run_note(state, RunNote("module_handler", PID, {}))
    assert found == running_bus(BusSettings(), state, {}, tmp_path) == BusLocation(None)


def test_variables_of_others_are_not_taken(tmp_path: Path) -> None:
    state, proc = running(tmp_path, b"SECRET=abc\0IPC_MQTT_HOST=\0")
    assert running_bus(BusSettings(), state, {}, proc) == BusLocation(None)
