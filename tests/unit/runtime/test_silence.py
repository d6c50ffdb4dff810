from __future__ import annotations

from module_gateway.runtime.silence import LOOKS, Silence


def test_who_is_silent_for_the_limit_hangs() -> None:
    silence = Silence(10.0, 100.0)
    looks = [silence.look(100.0 + number) for number in range(1, 12)]

    assert (looks, silence.look_s) == ([False] * 10 + [True], 10.0 / LOOKS)


def test_a_sign_of_life_begins_it_again() -> None:
    silence = Silence(10.0, 0.0)
    for second in range(1, 10):
        silence.look(float(second))
    silence.heard()

    assert [silence.look(float(second)) for second in range(10, 21)] == [False] * 10 + [True]


def test_a_machine_that_was_suspended_has_not_made_anybody_hang() -> None:
    silence = Silence(10.0, 0.0)
    silence.look(1.0)

    assert not silence.look(100_000.0)
    assert silence.silent_s == 3.5
    silence.heard()  # what waited in the socket is read now
    assert not silence.look(100_001.0)


def test_a_supervisor_that_is_late_each_time_still_notices() -> None:
    silence = Silence(10.0, 0.0)

    assert [silence.look(60.0 * number) for number in range(1, 6)] == [False] * 4 + [True]


def test_a_clock_that_goes_back_is_no_sign_of_life() -> None:
    silence = Silence(10.0, 100.0)
    silence.look(101.0)
    silence.look(50.0)

    assert silence.silent_s == 1.0
