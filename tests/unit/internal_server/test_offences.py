"""How patient the server is."""

from __future__ import annotations

from module_gateway.internal_server.offences import BURST, MAX_OFFENDERS, REFILL_S, Offences


def test_a_few_offences_are_closed_at_once_and_the_next_is_too_many():
    offences = Offences()
    assert [offences.note("a", 1.0) for _ in range(BURST)] == [0] * BURST
    assert not offences.is_slowed("a")
    assert offences.note("a", 1.0) is None
    assert offences.is_slowed("a")


def test_others_are_not_slowed():
    offences = Offences()
    for _ in range(BURST + 1):
        offences.note("a", 1.0)
    assert offences.note("b", 1.0) == 0
    assert not offences.is_slowed("b")


def test_time_makes_patient_again_and_tells_what_went_unlogged():
    offences = Offences()
    for _ in range(BURST + 7):
        offences.note("a", 1.0)
    assert offences.note("a", 1.0 + REFILL_S) == 7
    assert offences.note("a", 1.0 + REFILL_S) is None
    assert offences.note("a", 1.0 + 100 * BURST * REFILL_S) == 1
    assert offences.note("a", 1.0 + 100 * BURST * REFILL_S) == 0


def test_who_goes_on_does_not_become_free_by_going_on():
    offences = Offences()
    logged = [offences.note("a", n * REFILL_S / 20) for n in range(1000)]
    assert len([each for each in logged if each is not None]) <= BURST + 1000 / 20


def test_only_so_many_offenders_are_remembered():
    offences = Offences()
    for number in range(MAX_OFFENDERS + 5):
        offences.note(str(number), 1.0)
    assert len(offences._records) == MAX_OFFENDERS
    assert "0" not in offences._records
