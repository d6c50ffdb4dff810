from __future__ import annotations

from pathlib import Path

import pytest

from fleet_lab.cli import build_parser
from fleet_lab.demo import CHECKS, Demo, Plan, logs_folder, view_of
from fleet_lab.errors import LabError
from fleet_lab.fleets.lag import Lag
from fleet_lab.ledger.checks import Check
from fleet_lab.report.model import Series


def test_devices_are_dealt_over_the_kinds_as_equal_as_can_be() -> None:
    sizes = {fleet.device: fleet.size for fleet in Plan(devices=6).fleets("127.0.0.1:1")}
    assert sizes == {"car_accessory": 2, "mission": 2, "transparent": 1, "io": 1}
    assert len(Plan(devices=1).fleets("127.0.0.1:1")) == 1


def test_every_fleet_has_a_load_a_seed_and_the_gateway_as_its_sink() -> None:
    for fleet in Plan(seed=5).fleets("127.0.0.1:77"):
        assert (fleet.seed, fleet.sink) == (5, "fleet-protocol://127.0.0.1:77")
        assert fleet.the_load() is not None


def test_the_outage_is_in_the_middle() -> None:
    assert Plan(duration_s=60, outage_s=20).before_s == 20


def test_an_outage_that_does_not_fit_is_one_line() -> None:
    with pytest.raises(LabError, match="an outage of 20 s needs a demo of at least 28 s") as caught:
        Plan(duration_s=27, outage_s=20)
    assert caught.value.exit_code == 2


def test_the_command_of_the_report_means_the_same_plan() -> None:
    plan = Plan(7, 90.5, 12.25, 99)
    name, *words = plan.command
    assert name == "fleet-lab"
    read = build_parser("demo").parse_args(words)
    assert Plan(read.devices, read.duration, read.outage, read.seed) == plan


def test_the_checks_can_be_read() -> None:
    assert [Check(text).text for text in CHECKS] == list(CHECKS)


def test_fleets_are_summed_for_the_live_view() -> None:
    names = ("devices", "connected", "sent", "answered", "disconnects", "refused", "errors",
             "restarts")  # fmt: skip
    one = {**dict.fromkeys(names, 2), "lag_counts": Lag().counts, "lag_max_s": 0.0}
    series = Series(p50_s=(0.1, 0.2, None), p99_s=(0.3, 0.4, None))
    view = view_of([one, {**one, "connected": 1}], series)
    assert (view.devices, view.sent, view.p50_s, view.p99_s) == (4, 4, 0.2, 0.4)
    assert view.states == {"connected": 3, "not connected": 1}
    assert view_of([one], Series()).p50_s is None


def test_logs_are_kept_and_the_rest_is_removed(tmp_path: Path) -> None:
    with logs_folder(tmp_path / "out") as folder:
        (folder / "gateway.log").write_text("a line")
        (folder / "state").mkdir()
    assert (tmp_path / "out/logs/gateway.log").read_text() == "a line"
    assert not folder.exists()


async def test_nothing_is_looked_at_before_devices_run() -> None:
    demo = Demo(Plan(), lambda _text: None)
    demo.is_running.set()
    assert await demo.look() == []
