"""Every check is failed by the misbehaviour that it is for, and by no other."""

from __future__ import annotations

import asyncio

import pytest

from fleet_lab.ledger.checks import Check, facts_of, judge_all
from fleet_lab.ledger.ledger import Enlisted, Ledger
from fleet_lab.ledger.tap import TapDecoder
from fleet_lab.ledger.verdict import Verdict
from tests.lab_gateways import (
    CAR_ACCESSORY,
    Lie,
    LyingGateway,
    SteppingClock,
    fake_devices,
    play,
)

CHECKS = [
    Check(f"{word} == 0")
    for word in (
        "lost", "duplicated", "reordered", "phantom", "wrong_device", "miscounted", "late",
        "upstream_repeat",
    )
]  # fmt: skip

CONTROLS = {
    Lie.NOTHING: [],
    Lie.LOSE: ["lost == 0"],
    Lie.LOSE_ACKNOWLEDGEMENT: ["lost == 0"],
    Lie.DUPLICATE: ["duplicated == 0"],
    Lie.REORDER: ["reordered == 0"],
    Lie.DELAY_REPLY: ["late == 0"],
    Lie.DELIVER_AS_ANOTHER: ["wrong_device == 0"],
    Lie.REPLY_TO_ANOTHER: ["wrong_device == 0"],
    Lie.INVENT: ["phantom == 0"],
    Lie.COUNT_TOO_MANY: ["miscounted == 0"],
    Lie.COUNT_TOO_FEW: ["miscounted == 0"],
    Lie.LOSE_IN_OUTAGE: ["miscounted == 0"],
    Lie.REPEAT_AFTER_OUTAGE: ["upstream_repeat == 0"],
}


async def run(
    lie: Lie, module: int = CAR_ACCESSORY, *, has_positions: bool = True
) -> tuple[Ledger, Verdict]:
    clock = SteppingClock(asyncio.get_running_loop().time())
    ledger = Ledger(clock(), is_tapped=True)
    devices = fake_devices(module=module)
    recorder = ledger.enlist("fakes", [Enlisted(d.identity.role, d.identity) for d in devices])
    decoder = TapDecoder()

    def emit(topic: str, payload: bytes) -> None:
        event = decoder.decode(topic, payload, clock())
        if event is not None:
            ledger.upstream(event)

    gateway = LyingGateway(lie, emit, has_positions=has_positions, clock=clock)
    await play(gateway, devices, recorder)
    ledger.flush()
    assert decoder.undecodable == 0
    return ledger, ledger.verdict()


def test_every_lie_has_its_check_and_every_check_its_lie():
    assert set(CONTROLS) == set(Lie)
    assert {text for texts in CONTROLS.values() for text in texts} == {c.text for c in CHECKS}


@pytest.mark.parametrize("lie", list(Lie), ids=lambda lie: lie.name.lower())
async def test_a_lie_fails_its_own_check_and_no_other(lie: Lie):
    ledger, verdict = await run(lie)
    results = judge_all(CHECKS, facts_of(verdict, ledger.collector.series(), (), 1.0))
    assert [result.text for result in results if not result.is_passed] == CONTROLS[lie]


@pytest.mark.parametrize("lie", [lie for lie in Lie if CONTROLS[lie]], ids=lambda lie: lie.name)
async def test_the_offender_is_named(lie: Lie):
    _, verdict = await run(lie)
    word = CONTROLS[lie][0].split()[0]
    assert [each.word for each in verdict.offenders] == [word]
    assert verdict.offenders[0].device.startswith("device_")
    assert verdict.offenders[0].explanation


async def test_an_honest_gateway_has_a_clean_verdict_that_accounts_for_everything():
    _, verdict = await run(Lie.NOTHING)
    assert verdict.is_clean
    assert verdict.offenders == ()
    assert verdict.counts["sent"] == verdict.counts["answered"] == 45
    assert (verdict.counts["seen"], verdict.counts["folded"]) == (33, 12)
    assert verdict.counts["in_doubt"] == verdict.counts["superseded"] == 0


@pytest.mark.parametrize("module", [1, 2, 3, 1000])
async def test_an_honest_gateway_is_clean_for_every_module(module: int):
    _, verdict = await run(Lie.NOTHING, module)
    assert verdict.is_clean
    answered = {"seen", "folded", "superseded"}
    assert sum(verdict.counts[word] for word in answered) == 45


@pytest.mark.parametrize(
    "lie", [Lie.NOTHING, Lie.DUPLICATE, Lie.REORDER, Lie.LOSE], ids=lambda lie: lie.name
)
async def test_a_plain_gateway_without_positions_is_judged_alike(lie: Lie):
    ledger, verdict = await run(lie, has_positions=False)
    results = judge_all(CHECKS, facts_of(verdict, ledger.collector.series(), (), 1.0))
    failed = [result.text for result in results if not result.is_passed]
    beats_too_soon = ["duplicated == 0"]  # its heartbeat follows at once, which no gateway does
    assert failed == sorted({*CONTROLS[lie], *beats_too_soon}, key=[c.text for c in CHECKS].index)


async def test_too_high_a_count_may_be_a_repeat_where_the_peer_does_not_say_what_it_has():
    _, verdict = await run(Lie.COUNT_TOO_MANY, has_positions=False)
    assert (verdict.counts["miscounted"], verdict.counts["upstream_repeat"]) == (0, 1)


async def test_where_it_was_lost_is_told_apart():
    _, by_gateway = await run(Lie.LOSE)
    _, by_control_plane = await run(Lie.LOSE_ACKNOWLEDGEMENT)
    assert [hop.lost for hop in by_gateway.hops] == [0, 1, 0]
    assert [hop.lost for hop in by_control_plane.hops] == [0, 0, 1]


async def test_latencies_are_measured_on_every_hop():
    _, verdict = await run(Lie.DELAY_REPLY)
    reply = verdict.latencies["reply"]
    assert reply.count == 45
    assert 0.3 <= reply.max_s < 5
    assert verdict.latencies["upstream"].count == 33
    assert verdict.latencies["acknowledgement"].count > 33
