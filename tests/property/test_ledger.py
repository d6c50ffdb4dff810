"""Random histories with known defects are counted exactly, whatever the mixture of events."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_lab.ledger.batch import BatchRecorder
from fleet_lab.ledger.events import Accepted, Acknowledged, Opened, Upstream
from fleet_lab.ledger.ledger import Enlisted, Ledger
from fleet_lab.recorder import Recorder
from module_gateway.protocol.external import DeviceState, Position
from module_gateway.protocol.identity import Identity

VEHICLE = "lab/car"
FATES = ("seen", "lost", "duplicated", "late", "in_doubt", "doubtful_but_seen", "unacknowledged")
JUDGED = (
    "sent", "answered", "seen", "folded", "lost", "duplicated", "reordered", "phantom",
    "wrong_device", "miscounted", "late", "in_doubt", "superseded", "upstream_repeat",
)  # fmt: skip


@dataclass
class Script:
    """What the devices and the broker say, and what the verdict must be."""

    ledger: Ledger
    recorders: Sequence[Recorder]
    identities: Sequence[Identity]
    expected: Counter[str] = field(default_factory=Counter)
    now: float = 0.0
    session: int = 0
    counter: int = 0
    sequence: int = 0
    numbers: Counter[int] = field(default_factory=Counter)
    announced: set[int] = field(default_factory=set)

    def open(self) -> None:
        self.session += 1
        self.counter = 0
        self.announced.clear()
        self.ledger.upstream(Opened(VEHICLE, str(self.session), self.now))
        self.ledger.upstream(Accepted(VEHICLE, str(self.session), self.now))

    def attempt(self, device: int, fate: str) -> int:
        self.now += 0.01
        number = self.numbers[device] = self.numbers[device] + 1
        recorder = self.recorders[device % len(self.recorders)]
        recorder.sent(device, number, self.now, self.now)
        self.expected["sent"] += 1
        if fate in ("in_doubt", "doubtful_but_seen"):
            self.expected["in_doubt"] += 1
        else:
            self.expected["answered"] += 1
            self.expected["late"] += fate == "late"
            recorder.answered(device, number, self.now + (0.4 if fate == "late" else 0.1), True)
        return number

    def publish(self, device: int, number: int, *, total: int | None = None, is_acked=True) -> None:
        self.counter += 1
        self.sequence += 1
        state = DeviceState.RUNNING if device in self.announced else DeviceState.CONNECTING
        self.announced.add(device)
        error = None if total is None else json.dumps({"total_statuses": total}).encode()
        self.ledger.upstream(
            Upstream(
                VEHICLE, str(self.session), self.counter, self.identities[device], number,
                state, self.now + 0.002, error, Position(1, self.sequence), f"d{device}",
            )
        )  # fmt: skip
        if is_acked:
            acked = Acknowledged(VEHICLE, str(self.session), self.counter, self.now + 0.003)
            self.ledger.upstream(acked)

    def live(self, device: int, fate: str) -> None:
        number = self.attempt(device, fate)
        if fate in ("in_doubt", "lost"):
            self.expected["lost"] += fate == "lost"
            return
        if fate == "unacknowledged":
            self.expected["lost"] += 1
            self.publish(device, number, is_acked=False)
            return
        self.expected["seen"] += 1
        self.publish(device, number)
        if fate == "duplicated":
            self.expected["duplicated"] += 1
            self.publish(device, number)

    def outage(self, fates: Sequence[tuple[int, str]], error: int) -> None:
        """An outage: everything answered, and half of what is in doubt, is folded."""
        held: dict[int, list[int]] = {}
        for device, fate in fates:
            number = self.attempt(device, fate)
            if fate != "in_doubt":
                held.setdefault(device, []).append(number)
        self.open()
        for index, (device, numbers) in enumerate(held.items()):
            wrong = error if index == 0 else 0
            self.expected["miscounted"] += wrong != 0
            self.expected["seen"] += 1
            self.publish(device, numbers[-1], total=len(numbers) + wrong)


live_steps = st.tuples(st.integers(0, 2), st.sampled_from(FATES[:-1]))
outage_steps = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["seen", "late"])), min_size=1, max_size=12
)


def make_script(recorders: int = 0) -> tuple[Script, list[BatchRecorder]]:
    ledger = Ledger(0.0, is_tapped=True)
    identities = [Identity(1001, 0, f"r{index}") for index in range(3)]
    fleet = ledger.enlist("f", [Enlisted(f"d{i}", each) for i, each in enumerate(identities)])
    workers = [BatchRecorder() for _ in range(recorders)]
    return Script(ledger, workers or [fleet], identities), workers


def counts_of(script: Script) -> dict[str, int]:
    script.ledger.flush()
    counts = script.ledger.verdict().counts
    return {word: counts[word] for word in JUDGED}


def wanted(script: Script) -> dict[str, int]:
    return {word: script.expected[word] for word in JUDGED}


@settings(max_examples=150, deadline=None)
@given(st.lists(live_steps, max_size=60))
def test_live_defects_are_counted_exactly(steps):
    script, _ = make_script()
    script.open()
    for device, fate in steps:
        script.live(device, fate)
    assert counts_of(script) == wanted(script)


@settings(max_examples=150, deadline=None)
@given(st.lists(live_steps, max_size=30), outage_steps, st.integers(-1, 1), st.data())
def test_folds_of_outages_are_counted_exactly(before, during, error, data):
    script, _ = make_script()
    script.open()
    for device, fate in before:
        script.live(device, "seen" if fate == "in_doubt" else fate)
    for device in range(3):  # nobody can tell what was lost just before from what was left out
        script.live(device, "seen")
    folds = {device for device, _ in during}
    script.outage(during, error)
    script.expected["folded"] += len(during) - len(folds)
    for device, fate in data.draw(st.lists(live_steps, max_size=10)):
        script.live(device, fate)
    counts, expected = counts_of(script), wanted(script)
    if error > 0:  # a peer that does not say what it has applied: a repeat looks the same
        surplus = counts["miscounted"] + counts["upstream_repeat"]
        assert surplus == expected["miscounted"]
        counts.update(miscounted=0, upstream_repeat=0)
        expected.update(miscounted=0, upstream_repeat=0)
    assert counts == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(live_steps, max_size=60), st.integers(1, 3), st.data())
def test_batches_of_workers_may_come_late_and_in_any_order(steps, count, data):
    script, workers = make_script(count)
    script.open()
    fleet = script.ledger.enlist("f", [])
    for device, fate in steps:
        script.live(device, fate)
        for worker in workers:
            if data.draw(st.booleans()):
                fleet.merge(worker.take())
    for worker in data.draw(st.permutations(workers)):
        fleet.merge(worker.take())
    assert counts_of(script) == wanted(script)


@settings(max_examples=100, deadline=None)
@given(st.permutations(range(1, 9)))
def test_only_numbers_behind_a_higher_one_are_reordered(order):
    script, _ = make_script()
    script.open()
    for _ in order:
        script.attempt(0, "seen")
    for number in order:
        script.publish(0, number)
    behind = sum(number < max(order[: at + 1]) for at, number in enumerate(order))
    script.expected.update(seen=len(order), reordered=behind)
    assert counts_of(script) == wanted(script)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(-5, 2**40).filter(lambda n: not 1 <= n <= 4), max_size=5))
def test_numbers_that_nobody_sent_are_phantoms_and_disturb_nothing(invented):
    script, _ = make_script()
    script.open()
    script.live(0, "seen")
    script.live(0, "seen")
    for number in invented:
        script.publish(0, number)
    script.live(0, "seen")
    script.live(0, "seen")
    script.expected["phantom"] = len(invented)
    assert counts_of(script) == wanted(script)


@settings(max_examples=20, deadline=None)
@given(st.integers(300, 1500), st.sets(st.integers(1, 1500), max_size=5))
def test_what_is_settled_and_forgotten_stays_in_the_counts(count, lost):
    script, _ = make_script()
    script.open()
    for number in range(1, count + 1):
        script.live(0, "lost" if number in lost else "seen")
    assert counts_of(script) == wanted(script)
