"""Row N1 notices what it promises to notice; the run itself is with `make chaos`."""

from __future__ import annotations

import json

import pytest

from fleet_lab.device import Gateway
from module_gateway.protocol.identity import Identity
from tests.chaos.flood import Reporter, reporters
from tests.chaos.outage import Finding, judge_folds, judge_replay
from tests.chaos.witness import CONNECTING, Heard

RUNNING = 1
SENT = 8
CUT = 4
"""What is newer goes live beside the replay."""


def reporter() -> Reporter:
    """A device that has sent eight statuses, one per 10 ms, all answered."""
    (device,) = reporters([Identity(7, 0, "probe")], Gateway("127.0.0.1", 1))
    device.sent_at.extend(number / 100 for number in range(1, SENT + 1))
    device.answered.update(range(1, SENT + 1))
    return device


def told() -> list[Heard]:
    """Four of it replayed, the others live 5 ms after they were sent; the replay ends last."""
    replayed = [
        Heard(0.05 + n / 1000, RUNNING, n, None, is_replayed=True, is_live=False)
        for n in range(1, CUT + 1)
    ]
    live = [
        Heard(n / 100 + 0.005, RUNNING, n, None, is_replayed=False, is_live=True)
        for n in range(CUT + 1, SENT + 1)
    ]
    replayed[-1] = replayed[-1]._replace(at=0.053)
    return [*replayed, *live]


def replay_failures(heard: list[Heard]) -> str:
    found = Finding("N1", "replay")
    judge_replay(found, [reporter()], {"probe": heard})
    return " ".join(found.failures)


def test_a_replay_in_order_beside_live_statuses_keeps_every_promise() -> None:
    assert replay_failures(told()) == ""


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        ([*told()[:1], *told()[2:]], "lost: 1"),
        ([*told(), told()[1]], "duplicated: 1"),
        ([told()[1], told()[0], *told()[2:]], "reordered: 1"),
        ([*told(), told()[-1]._replace(number=SENT + 1)], "phantom: 1"),
        ([told()[0]._replace(at=-9.0), *told()[1:]], "replayed 0/s"),
        ([*told()[:4], told()[4]._replace(at=2.0), *told()[5:]], "1.95 s behind"),
        ([each._replace(is_live=False) for each in told()], "no live status"),
    ],
)
def test_a_replay_that_breaks_a_promise_is_noticed(broken: list[Heard], word: str) -> None:
    assert word in replay_failures(broken)


def fold(upto: int, total: int) -> Heard:
    counts = {
        "pressed_count": (total + 1) // 2,
        "not_pressed_count": total // 2,
        "total_statuses": total,
    }
    error = json.dumps(counts).encode()
    return Heard(1.0, CONNECTING, upto, error, is_replayed=False, is_live=False)


def fold_failures(heard: list[Heard]) -> list[str]:
    found = Finding("N1", "aggregate")
    judge_folds(found, [reporter()], {"probe": heard}, CUT)
    return found.failures


def rest(after: int) -> list[Heard]:
    return [
        Heard(2.0, RUNNING, number, None, is_replayed=False, is_live=False)
        for number in range(after + 1, SENT + 1)
    ]


def test_one_fold_with_right_counts_keeps_every_promise() -> None:
    assert fold_failures([fold(5, 5), *rest(5)]) == []


@pytest.mark.parametrize(
    "broken",
    [
        [fold(5, 4), *rest(5)],
        [fold(5, 6), *rest(5)],
        [fold(3, 3), *rest(3)],
        [fold(5, 5), *rest(6)],
        [fold(5, 5), *rest(4)],
        [fold(5, 5), fold(5, 5), *rest(5)],
        [*rest(0)],
        [fold(5, 5)._replace(state=RUNNING), *rest(5)],
    ],
)
def test_a_fold_that_breaks_a_promise_is_noticed(broken: list[Heard]) -> None:
    assert fold_failures(broken) != []
