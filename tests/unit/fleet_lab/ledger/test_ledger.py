"""Devices, fleets, workers and taps in one ledger."""

from __future__ import annotations

import pytest

from fleet_lab.ledger.batch import BatchRecorder
from fleet_lab.ledger.events import Acknowledged, Opened, Upstream
from fleet_lab.ledger.ledger import LATE_S, MAX_REASONS, Enlisted, Ledger
from fleet_lab.ledger.rules import MergeRule
from module_gateway.protocol.external import DeviceState
from module_gateway.protocol.identity import Identity

V = "c/v"


def who(role: str, module: int = 3) -> Identity:
    return Identity(module, 0, role)


class Wire:
    """One session upstream, everything acknowledged."""

    def __init__(self, ledger: Ledger, vehicle: str = V) -> None:
        self._ledger = ledger
        self._vehicle = vehicle
        self._counter = 0
        ledger.upstream(Opened(vehicle, "s", 0.0))

    def carry(self, device: Identity, number: int | None, device_id: str | None = None) -> None:
        self._counter += 1
        at_s = 10.0 + self._counter / 100
        status = Upstream(
            self._vehicle, "s", self._counter, device, number, DeviceState.RUNNING, at_s,
            device_id=device_id,
        )  # fmt: skip
        self._ledger.upstream(status)
        self._ledger.upstream(Acknowledged(self._vehicle, "s", self._counter, at_s + 0.001))


def attempt(recorder, device: int, number: int) -> None:
    recorder.sent(device, number, 9.0, 9.0)
    recorder.answered(device, number, 9.01, True)


def words(ledger: Ledger) -> dict[str, int]:
    ledger.flush()
    counts = ledger.verdict().counts
    return {word: count for word, count in counts.items() if count}


def test_devices_of_several_fleets_are_told_apart():
    ledger = Ledger(0.0, is_tapped=True)
    cars = ledger.enlist("cars", [Enlisted("cars/1", who("a"))])
    lamps = ledger.enlist("lamps", [Enlisted("lamps/1", who("b"))])
    attempt(cars, 0, 1)
    attempt(lamps, 0, 1)
    Wire(ledger).carry(who("b"), 1, "lamps/1")
    assert words(ledger) == {"sent": 2, "answered": 2, "seen": 1, "lost": 1}
    assert [each.device for each in ledger.verdict().offenders] == ["cars/1"]


def test_a_fleet_grows_by_enlisting_more():
    ledger = Ledger(0.0, is_tapped=False)
    fleet = ledger.enlist("f", [Enlisted("f/1", who("a"))])
    assert ledger.enlist("f", [Enlisted("f/2", who("b"))]) is fleet
    assert len(fleet) == 2
    attempt(fleet, 1, 1)
    assert fleet.next_number(1) == 2
    assert fleet.next_number(0) == 1


def test_the_same_identity_in_two_vehicles_is_two_devices():
    ledger = Ledger(0.0, is_tapped=True)
    fleet = ledger.enlist(
        "f", [Enlisted("one", who("a"), "c/one"), Enlisted("two", who("a"), "c/two")]
    )
    attempt(fleet, 0, 1)
    attempt(fleet, 1, 1)
    Wire(ledger, "c/two").carry(who("a"), 1)
    ledger.flush()
    assert [each.device for each in ledger.verdict().offenders] == ["one"]


def test_devices_that_share_an_identity_by_priority_are_told_by_their_id():
    ledger = Ledger(0.0, is_tapped=True)
    fleet = ledger.enlist("f", [Enlisted("low", who("a")), Enlisted("high", who("a"))])
    wire = Wire(ledger)
    attempt(fleet, 0, 1)
    wire.carry(who("a"), 1, "low")
    attempt(fleet, 1, 1)
    wire.carry(who("a"), 1, "high")
    assert words(ledger) == {"sent": 2, "answered": 2, "seen": 2}


def test_strangers_on_the_broker_are_counted_apart():
    ledger = Ledger(0.0, is_tapped=True)
    fleet = ledger.enlist("f", [Enlisted("d", who("a"))])
    attempt(fleet, 0, 1)
    wire = Wire(ledger)
    wire.carry(who("stranger"), 1, "x")
    wire.carry(who("a"), 1, "d")
    assert words(ledger) == {"sent": 1, "answered": 1, "seen": 1}
    assert ledger.verdict().extras["foreign"] == 1


def test_late_is_above_the_gateways_own_limit():
    ledger = Ledger(0.0, is_tapped=False)
    fleet = ledger.enlist("f", [Enlisted("d", who("a"))])
    for number, latency_s in ((1, LATE_S), (2, LATE_S + 0.001)):
        fleet.sent(0, number, 1.0, 0.0)
        fleet.answered(0, number, latency_s, True)
    assert ledger.verdict().counts["late"] == 1
    assert ledger.verdict().offenders[0].explanation == "answered after 251 ms"


def test_without_a_tap_only_the_devices_words_are_judged():
    ledger = Ledger(0.0, is_tapped=False)
    attempt(ledger.enlist("f", [Enlisted("d", who("a"))]), 0, 1)
    verdict = ledger.verdict()
    assert set(verdict.counts) == {"sent", "answered", "late", "in_doubt", "wrong_device"}
    assert not verdict.is_clean
    assert "No tap upstream" in verdict.notes[0]
    assert verdict.hops == ()


def test_a_tap_that_sees_nothing_is_a_note():
    ledger = Ledger(0.0, is_tapped=True)
    attempt(ledger.enlist("f", [Enlisted("d", who("a"))]), 0, 1)
    assert "saw no status" in ledger.verdict().notes[0]


def test_while_it_runs_what_is_open_is_not_judged():
    ledger = Ledger(0.0, is_tapped=True)
    attempt(ledger.enlist("f", [Enlisted("d", who("a"))]), 0, 1)
    counts = ledger.verdict(is_final=False).counts
    assert not {"lost", "in_doubt", "seen"} & set(counts)
    assert (counts["sent"], counts["duplicated"]) == (1, 0)


def test_connections_are_counted_once_each():
    ledger = Ledger(0.0, is_tapped=False)
    fleet = ledger.enlist("f", [Enlisted("d", who("a"))])
    fleet.connected(0, 1.0)
    fleet.connected(0, 1.1)
    fleet.closed(0, "reset", 2.0)
    fleet.closed(0, "reset", 2.1)
    fleet.refused(0, 3)
    verdict = ledger.verdict()
    assert (verdict.extras["connects"], verdict.extras["connected"]) == (2, 0)
    assert (dict(verdict.closed), dict(verdict.refused)) == ({"reset": 2}, {3: 1})
    assert ledger.collector.series().connected == (0, 1, 0)


def test_reasons_are_bounded():
    ledger = Ledger(0.0, is_tapped=False)
    fleet = ledger.enlist("f", [])
    for number in range(MAX_REASONS + 5):
        fleet.closed(0, f"reason {number}", 0.0)
    closed = ledger.verdict().closed
    assert len(closed) == MAX_REASONS + 1
    assert closed["other"] == 5


def test_events_that_fit_nothing_are_counted_and_noted():
    ledger = Ledger(0.0, is_tapped=False)
    fleet = ledger.enlist("f", [Enlisted("d", who("a"))])
    attempt(fleet, 0, 1)
    attempt(fleet, 0, 1)
    attempt(fleet, 7, 1)
    verdict = ledger.verdict()
    assert verdict.extras["unusable"] == 4
    assert "4 events fit no attempt" in verdict.notes[-1]


def test_batches_merge_and_what_workers_dropped_is_noted():
    ledger = Ledger(0.0, is_tapped=False)
    fleet = ledger.enlist("f", [Enlisted("d", who("a"))])
    worker = BatchRecorder()
    attempt(worker, 0, 1)
    worker.dropped = 3
    fleet.merge(worker.take())
    verdict = ledger.verdict()
    assert (verdict.counts["answered"], verdict.extras["forgotten"]) == (1, 3)
    assert "dropped 3 events" in verdict.notes[-1]
    with pytest.raises(ValueError, match="batch"):
        fleet.merge(b"nonsense")


@pytest.mark.parametrize(
    ("module", "is_numbered", "rule"),
    [(3, True, MergeRule.EACH), (1, True, MergeRule.LATEST), (3, False, MergeRule.ORDERED)],
)
def test_the_rule_follows_module_and_numbering(module, is_numbered, rule):
    assert Enlisted("d", who("a", module), None, is_numbered).rule is rule
