"""Whatever a link does short of half-open: every byte arrives once and in order."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_lab.links.meter import Meter
from fleet_lab.links.presets import OneWay
from fleet_lab.links.shim import Ended, Rhythm, Shim

_stalls = st.sampled_from([(None, 0.0), (1.0, 0.3), (0.05, 0.04)])


@st.composite
def _ways(draw: st.DrawFn) -> OneWay:
    every_s, stall_s = draw(_stalls)
    return OneWay(
        delay_s=draw(st.sampled_from([0.0, 0.001, 0.3])),
        jitter_s=draw(st.sampled_from([0.0, 0.01, 1.0])),
        rate_bps=draw(st.sampled_from([None, 800.0, 50_000.0, 1e7])),
        stall_every_s=every_s,
        stall_s=stall_s,
        is_cut=draw(st.booleans()),
    )


_steps = st.lists(
    st.tuples(
        st.floats(0, 2),
        st.one_of(
            st.binary(min_size=1, max_size=4000),
            _ways(),
            st.sampled_from(["take", "block", "unblock"]),
        ),
    ),
    max_size=40,
)


@given(_ways(), _steps, st.integers(0, 100))
@settings(max_examples=150, deadline=None)
def test_bytes_are_never_lost_reordered_or_duplicated(
    way: OneWay, steps: list[tuple[float, object]], seed: int
) -> None:
    rng = Random(seed)
    shim = Shim(way, rng, Meter(), Rhythm(0.0, rng.random()))
    now, sent, arrived = 0.0, bytearray(), bytearray()
    for wait_s, step in steps:
        now += wait_s
        match step:
            case bytes():
                sent += step
                shim.put(step, now)
            case OneWay():
                shim.set(step, now)
            case "block":
                shim.is_blocked = True
            case "unblock":
                shim.unblock(now)
            case _:
                arrived += _joined(shim, now)
        assert sent.startswith(arrived)
        assert shim.held_bytes == len(sent) - len(arrived)
    shim.put(Ended(), now)
    shim.unblock(now)
    shim.set(OneWay(stall_every_s=1.0, stall_s=0.5), now)
    while (due_s := shim.next_due_s(now)) is not None:
        assert due_s >= now
        now = due_s
        arrived += _joined(shim, now)

    assert arrived == sent
    assert shim.is_idle
    assert shim.meter.size_bytes == len(sent)
    assert not shim.has_vanished


def _joined(shim: Shim, now: float) -> bytes:
    return b"".join(item for item in shim.take(now) if isinstance(item, bytes))


@given(_ways(), st.integers(0, 100))
def test_the_same_seed_gives_the_same_times(way: OneWay, seed: int) -> None:
    def times() -> list[float]:
        rng = Random(seed)
        shim = Shim(way, rng, Meter(), Rhythm(0.0, rng.random()))
        found = []
        for index in range(5):
            shim.put(b"x", index * 2.0)
            found.append(shim.next_due_s(index * 2.0) or 0.0)
        return found

    assert times() == times()
