"""The shim on a clock that the test turns: every time is exact."""

from __future__ import annotations

from random import Random

import pytest

from fleet_lab.links.meter import Meter
from fleet_lab.links.presets import OneWay
from fleet_lab.links.shim import HELD_BYTES, SEGMENT_BYTES, Ended, Item, Rhythm, Shim


def _shim(way: OneWay, rhythm: Rhythm | None = None, opens_s: float = 0.0) -> Shim:
    return Shim(way, Random(7), Meter(), rhythm or Rhythm(), opens_s)


def _run(shim: Shim, until_s: float, now: float = 0.0) -> list[tuple[float, Item]]:
    """Everything that arrives until then, with its time."""
    arrived: list[tuple[float, Item]] = []
    while True:
        due_s = shim.next_due_s(now)
        if due_s is None or due_s > until_s:
            return arrived
        now = due_s
        arrived += [(now, item) for item in shim.take(now)]


def test_a_clear_shim_gives_at_once() -> None:
    shim = _shim(OneWay())
    shim.put(b"abc", 5.0)

    assert shim.take(5.0) == [b"abc"]
    assert shim.is_idle


def test_delay_is_exact_without_jitter() -> None:
    shim = _shim(OneWay(delay_s=0.3))
    shim.put(b"a", 1.0)
    shim.put(b"b", 1.1)

    assert _run(shim, 9.0) == [(1.3, b"a"), (pytest.approx(1.4), b"b")]


def test_nothing_arrives_before_it_is_due() -> None:
    shim = _shim(OneWay(delay_s=0.3))
    shim.put(b"a", 1.0)

    assert shim.take(1.299) == []
    assert shim.next_due_s(1.299) == pytest.approx(1.3)


def test_spaced_traffic_gets_the_declared_mean_and_deviation() -> None:
    shim = _shim(OneWay(delay_s=0.3, jitter_s=0.02))
    delays = []
    for index in range(2000):
        shim.put(b"x", float(index))
        [(at_s, _)] = _run(shim, index + 0.9, float(index))
        delays.append(at_s - index)
    mean = sum(delays) / len(delays)
    deviation = (sum((delay - mean) ** 2 for delay in delays) / len(delays)) ** 0.5

    assert mean == pytest.approx(0.3, rel=0.01)
    assert deviation == pytest.approx(0.02, rel=0.1)


def test_a_delay_is_never_negative() -> None:
    shim = _shim(OneWay(delay_s=0.001, jitter_s=1.0))
    for index in range(100):
        shim.put(b"x", 10.0 * index)
        [(at_s, _)] = _run(shim, 10.0 * index + 9, 10.0 * index)
        assert at_s >= 10.0 * index


def test_a_burst_travels_together() -> None:
    shim = _shim(OneWay(delay_s=0.3, jitter_s=0.1))
    for _ in range(50):
        shim.put(b"x", 1.0)

    assert len({at_s for at_s, _ in _run(shim, 9.0)}) == 1


def test_rate_serialises_and_trickles_in_segments() -> None:
    shim = _shim(OneWay(rate_bps=8 * SEGMENT_BYTES))  # one segment per second
    shim.put(b"x" * (3 * SEGMENT_BYTES), 0.0)
    arrived = _run(shim, 9.0)

    assert [at_s for at_s, _ in arrived] == pytest.approx([1.0, 2.0, 3.0])
    assert b"".join(item for _, item in arrived if isinstance(item, bytes)) == b"x" * 4380


def test_an_unused_rate_is_not_saved_up() -> None:
    shim = _shim(OneWay(rate_bps=8000.0))
    shim.put(b"x" * 100, 0.0)
    shim.put(b"y" * 100, 50.0)

    assert [at_s for at_s, _ in _run(shim, 99.0)] == pytest.approx([0.1, 50.1])


def test_achieved_rate_is_the_declared_one() -> None:
    shim = _shim(OneWay(rate_bps=1e6, delay_s=0.05, jitter_s=0.01))
    for index in range(50):
        shim.put(b"x" * 12_500, index * 0.1)  # exactly the rate
        _run(shim, index * 0.1 + 0.1, index * 0.1)
    shim.put(b"x" * 125_000, 5.0)
    _run(shim, 9.0, 5.0)

    assert shim.meter.achieved().rate_bps == pytest.approx(1e6, rel=0.05)


def test_the_declared_queue_pauses_the_writer_and_lets_it_go_on_at_half() -> None:
    shim = _shim(OneWay(rate_bps=8000.0, queue_s=0.2))
    shim.put(b"x" * 200, 0.0)
    assert not shim.is_full(0.0)
    shim.put(b"x" * 100, 0.0)

    assert shim.is_full(0.0)
    assert shim.room_s(0.0) == pytest.approx(0.2)


def test_without_a_rate_a_cut_pauses_the_writer_at_a_megabyte() -> None:
    shim = _shim(OneWay(is_cut=True))
    shim.put(b"x" * HELD_BYTES, 0.0)
    assert not shim.is_full(0.0)
    shim.put(b"x", 0.0)

    assert shim.is_full(0.0)
    assert shim.room_s(0.0) is None


def test_a_cut_holds_until_it_is_healed() -> None:
    shim = _shim(OneWay(delay_s=0.1))
    shim.put(b"a", 0.0)
    shim.set(OneWay(delay_s=0.1, is_cut=True), 0.05)
    shim.put(b"b", 0.06)
    assert shim.next_due_s(5.0) is None
    assert shim.take(5.0) == []
    shim.set(OneWay(delay_s=0.1), 7.0)

    assert _run(shim, 9.0, 7.0) == [(7.0, b"a"), (7.0, b"b")]


def test_what_a_cut_held_does_not_count_as_delay() -> None:
    shim = _shim(OneWay(is_cut=True))
    for _ in range(10):
        shim.put(b"a", 0.0)
    shim.set(OneWay(), 7.0)
    _run(shim, 9.0, 7.0)

    assert shim.meter.achieved().delay_p50_s is None
    assert shim.meter.size_bytes == 10


def test_a_stall_holds_to_its_end_and_is_counted() -> None:
    way = OneWay(delay_s=0.1, stall_every_s=10.0, stall_s=2.0)  # stalls at 8-10, 18-20 …
    shim = _shim(way)
    for put_s in (7.0, 7.95, 9.0, 9.95, 18.5):
        shim.put(b"x", put_s)

    assert [at_s for at_s, _ in _run(shim, 99.0)] == pytest.approx([7.1, 10, 10, 10.05, 20])
    assert shim.meter.stalls == 2


def test_the_phase_of_the_stalls_is_the_links() -> None:
    way = OneWay(stall_every_s=10.0, stall_s=2.0)
    shim = _shim(way, Rhythm(origin_s=100.0, turn=0.75))
    shim.put(b"x", 101.0)

    assert shim.next_due_s(101.0) == pytest.approx(102.5)


def test_half_open_swallows_bytes_and_the_end() -> None:
    shim = _shim(OneWay(delay_s=0.1))
    shim.put(b"abc", 0.0)
    shim.set(OneWay(is_half_open=True), 0.05)
    shim.put(b"de", 0.1)
    shim.put(Ended(), 0.1)

    assert _run(shim, 99.0) == []
    assert shim.has_vanished
    assert shim.meter.vanished_bytes == 5
    assert shim.held_bytes == 0


def test_an_end_travels_behind_the_bytes() -> None:
    shim = _shim(OneWay(delay_s=0.2, rate_bps=8000.0))
    shim.put(b"x" * 100, 0.0)
    shim.put(Ended(), 0.0)

    assert _run(shim, 9.0) == [(pytest.approx(0.3), b"x" * 100), (pytest.approx(0.3), Ended())]


def test_a_new_rate_holds_for_what_still_waits() -> None:
    shim = _shim(OneWay(rate_bps=8.0))
    shim.put(b"a" * 100, 0.0)
    shim.put(b"b" * 100, 0.0)
    shim.set(OneWay(rate_bps=800.0), 1.0)

    assert [at_s for at_s, _ in _run(shim, 99.0, 1.0)] == pytest.approx([2.0, 3.0])
    assert shim.held_bytes == 0


def test_what_is_in_flight_keeps_its_time() -> None:
    shim = _shim(OneWay(delay_s=1.0))
    shim.put(b"a", 0.0)
    shim.set(OneWay(delay_s=0.1), 0.5)
    shim.put(b"b", 0.5)

    assert _run(shim, 9.0, 0.5) == [(1.0, b"a"), (1.0, b"b")]


def test_the_first_bytes_wait_for_the_handshake() -> None:
    shim = _shim(OneWay(delay_s=0.1, rate_bps=8000.0), opens_s=3.0)
    shim.put(b"a", 1.0)

    assert not shim.is_full(1.0)
    assert _run(shim, 9.0, 1.0) == [(pytest.approx(3.101), b"a")]


def test_a_blocked_far_end_gets_nothing_until_it_takes_again() -> None:
    shim = _shim(OneWay())
    shim.is_blocked = True
    shim.put(b"a", 0.0)
    assert shim.take(1.0) == []
    shim.unblock(2.0)

    assert shim.take(2.0) == [b"a"]


def test_a_cleared_shim_is_empty() -> None:
    shim = _shim(OneWay(is_cut=True))
    shim.put(b"abc", 0.0)
    shim.clear()

    assert shim.is_idle
    assert shim.held_bytes == 0


def test_delay_is_measured_only_while_it_is_the_declared_one() -> None:
    shim = _shim(OneWay(delay_s=0.1))
    for index in range(20):
        shim.set(OneWay(delay_s=5.0 if index % 2 else 0.1), index * 10.0)
        shim.put(b"x", index * 10.0)
        _run(shim, index * 10.0 + 9, index * 10.0)

    assert sum(shim.meter.delays.values()) == 10
    assert shim.meter.achieved().delay_p99_s == pytest.approx(0.1, rel=0.02)
