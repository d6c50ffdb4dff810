from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from fleet_lab.errors import LabError
from fleet_lab.fleets.board import Board
from fleet_lab.fleets.service import ShardService, ShiftedRecorder
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.ledger.batch import replay
from tests.unit.fleet_lab.fleets.stand_ins import Remembering, Walker


def start_fields(folder: Path, **more: Any) -> dict[str, Any]:
    spec = FleetSpec("cars", f"{Walker.__module__}:Walker", 3, f"file:{folder}/statuses", seed=1)
    return {
        "fleet": spec.to_json(), "indexes": [[0, 2, 1]], "board": None, "elapsed_s": 0.0,
        "load_from_s": 0.0, "attempts": {}, "now_s": time.monotonic(), **more,
    }  # fmt: skip


async def test_it_runs_its_part_and_tells_what_happened(tmp_path: Path) -> None:
    service, heard = ShardService(), Remembering()
    await service.request("start", start_fields(tmp_path))
    fields, batch = await service.request("take", {})
    replay(batch, heard)
    assert 2 == fields["counts"]["connected"]
    assert [("connected", 0), ("connected", 1)] == [event[:2] for event in heard.events]
    await service.request("send", {"device": "cars/2", "payload": '{"command": "jump", "to": 3}'})
    found, _ = await service.request("telemetry", {"device": "cars/2"})
    assert 3 == found["telemetry"]["state"]["place"]
    await service.request("stop", {})


async def test_adopted_devices_count_on(tmp_path: Path) -> None:
    service = ShardService()
    await service.request("start", start_fields(tmp_path))
    await service.request("adopt", {"indexes": [[2, 3, 1]], "attempts": {"2": 70}})
    found, _ = await service.request("telemetry", {"device": "cars/3"})
    assert 70 == found["telemetry"]["attempts"]
    await service.request("stop", {})


async def test_every_attempt_stands_on_the_board(tmp_path: Path) -> None:
    board = Board(tmp_path / "board")
    service = ShardService()
    load = {"shape": "closed"}
    fields = start_fields(tmp_path, board=str(tmp_path / "board"))
    fields["fleet"]["load"] = load
    await service.request("start", fields)
    await service.request("stop", {})
    taken, batch = await service.request("take", {})
    heard = Remembering()
    replay(batch, heard)
    sent = [event[2] for event in heard.events if event[0] == "sent" and event[1] == 0]
    assert taken["counts"]["sent"] > 0
    assert max(sent) == board[0]
    board.close()


async def test_another_machines_clock_is_translated(tmp_path: Path) -> None:
    service, heard = ShardService(), Remembering()
    hour_s = 3600.0
    await service.request("start", start_fields(tmp_path, now_s=time.monotonic() + hour_s))
    _, batch = await service.request("take", {})

    class Times(Remembering):
        def connected(self, device: int, at_s: float) -> None:
            self._add("connected", device, at_s)

    heard = Times()
    replay(batch, heard)
    assert hour_s == pytest.approx(heard.events[0][2] - time.monotonic(), abs=10)
    await service.request("stop", {})


def test_shifted_times_pass_on_everything_else() -> None:
    inner = Remembering()
    shifted = ShiftedRecorder(inner, 10.0)
    shifted.sent(1, 2, 3.0, 4.0)
    shifted.answered(1, 2, 5.0, True)
    shifted.closed(1, "cut", 6.0)
    shifted.refused(1, 4)
    assert ("sent", 1, 2, 13.0, 14.0) == inner.events[0]
    assert ["sent", "answered", "closed", "refused"] == [event[0] for event in inner.events]


@pytest.mark.parametrize("what", ["dance", "telemetry", "adopt"])
async def test_what_it_cannot_is_an_error(what: str) -> None:
    with pytest.raises(LabError):
        await ShardService().request(what, {"device": "cars/1", "indexes": [], "attempts": {}})
