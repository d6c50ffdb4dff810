from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fleet_lab.errors import LabError
from fleet_lab.fleets.registry import ControlSocket, ask_all, ask_one, state_folder
from fleet_lab.fleets.running import RunningFleet
from tests.unit.fleet_lab.fleets.stand_ins import Walker


class Run:
    """Two fleets that only write files, and their control socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopped = asyncio.Event()
        self.scaled: list[tuple[str, int]] = []
        sink = f"file:{folder}/statuses.jsonl"
        self.fleets = {
            name: RunningFleet(name, Walker, size=2, sink=sink, seed=1) for name in ("cars", "vans")
        }

    async def ask(self, payload: bytes = b"", **fields: Any) -> Any:
        return await asyncio.to_thread(ask_one, self.folder, fields, payload)


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    run = Run(tmp_path)
    for fleet in run.fleets.values():
        await fleet.start()
    scaled = run.scaled
    async with ControlSocket(
        tmp_path, run.fleets, run.stopped.set, lambda fleet, size: scaled.append((fleet, size))
    ):
        yield run
    for fleet in run.fleets.values():
        await fleet.stop()


async def test_ps_shows_every_fleet(run: Run) -> None:
    rows = await run.ask(do="ps")
    assert [("cars", 2), ("vans", 2)] == [(row["name"], row["size"]) for row in rows]


async def test_a_fleet_is_scaled_and_the_run_told_before(run: Run) -> None:
    row = await run.ask(do="scale", fleet="vans", size=5)
    assert (5, 5) == (row["size"], row["connected"])
    assert [("vans", 5)] == run.scaled


async def test_a_device_is_found_by_its_id_in_whatever_fleet(run: Run) -> None:
    await run.ask(b'{"command": "jump", "to": 7}', do="send", device="vans/2")
    assert 7 == (await run.ask(do="telemetry", device="vans/2"))["state"]["place"]
    assert 0 == (await run.ask(do="telemetry", device="cars/2"))["state"]["place"]


async def test_stop_reaches_the_run(run: Run) -> None:
    await run.ask(do="stop")
    async with asyncio.timeout(30):
        await run.stopped.wait()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"do": "telemetry", "device": "cars/9"}, "there is no device 'cars/9'"),
        ({"do": "scale", "fleet": "bikes", "size": 1}, "there is no fleet 'bikes'"),
        ({"do": "scale", "fleet": "cars"}, "a bad request"),
        ({"do": "dance"}, "a run cannot 'dance'"),
    ],
)
async def test_what_cannot_be_done_is_one_line(run: Run, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(LabError) as error:
        await run.ask(**fields)
    assert error.value.text.startswith(text)
    assert 2 == error.value.exit_code


async def test_only_its_user_may_open_the_socket(run: Run) -> None:
    (path,) = (run.folder / "runs").glob("*.sock")
    assert 0o600 == path.stat().st_mode & 0o777
    assert 0o700 == path.parent.stat().st_mode & 0o777


async def test_a_stranger_on_the_socket_harms_nobody(run: Run) -> None:
    (path,) = (run.folder / "runs").glob("*.sock")

    def disturb() -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
            stranger.connect(str(path))
            stranger.sendall(b"\xff" * 64)
            return stranger.recv(10)

    assert b"" == await asyncio.to_thread(disturb)
    assert 2 == len(await run.ask(do="ps"))


def test_without_a_run_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no fleet runs; start one: fleet-lab fleet run FILE"):
        ask_one(tmp_path, {"do": "ps"})


def test_the_socket_of_a_dead_run_is_cleared_away(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "1.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    assert [] == list(ask_all(tmp_path, {"do": "ps"}))
    assert not path.exists()


def test_the_state_folder_follows_the_environment() -> None:
    assert Path("/xdg/fleet-lab") == state_folder({"XDG_STATE_HOME": "/xdg", "HOME": "/h"})
    assert Path("/h/.local/state/fleet-lab") == state_folder({"HOME": "/h"})
