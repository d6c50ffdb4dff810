from __future__ import annotations

from module_gateway.bus.vigil import ASK_PART, TICKS_PER_SILENCE, Finding, Vigil


def ticks(vigil: Vigil, count: int, *, oldest: int | None = None, **what: bool) -> list[Finding]:
    return [
        vigil.tick(oldest, is_heard=what.get("is_heard", False), is_said=what.get("is_said", False))
        for _ in range(count)
    ]


def test_it_ticks_often_enough_for_both_limits_and_once_a_second_at_least() -> None:
    assert 1.0 == Vigil(60.0, 60.0).tick_s
    assert 0.2 == Vigil(1.0, 60.0).tick_s
    assert 0.1 == Vigil(60.0, 1.0).tick_s


def test_E16_a_silent_broker_is_asked_once_and_lost_after_as_long_again() -> None:
    vigil = Vigil(60.0, 1.0)
    findings = ticks(vigil, 20, is_said=True)
    assert Finding.ASK == findings[9]
    assert Finding.SILENT == findings[19]
    assert [Finding.FINE] * 18 == findings[:9] + findings[10:19]


def test_any_sign_of_life_begins_the_silence_anew() -> None:
    vigil = Vigil(60.0, 1.0)
    for _ in range(5):
        assert Finding.SILENT not in ticks(vigil, 19, is_said=True)
        assert Finding.FINE == vigil.tick(None, is_heard=True, is_said=True)


def test_who_only_listens_says_something_before_the_broker_gives_him_up() -> None:
    vigil = Vigil(60.0, 1.0)
    assert Finding.ASK not in ticks(vigil, 9, is_heard=True)
    assert Finding.ASK == vigil.tick(None, is_heard=True, is_said=False)
    assert Finding.FINE == vigil.tick(None, is_heard=True, is_said=True)


def test_the_wait_for_a_confirmation_begins_anew_with_another_oldest() -> None:
    vigil = Vigil(1.0, 60.0)
    busy = {"is_heard": True, "is_said": True}
    assert [Finding.FINE] * 5 == ticks(vigil, 5, oldest=1, **busy)
    assert [Finding.FINE] * 5 == ticks(vigil, 5, oldest=2, **busy)
    assert Finding.UNCONFIRMED == vigil.tick(2, is_heard=True, is_said=True)
    assert Finding.FINE == vigil.tick(None, is_heard=True, is_said=True)


def test_E16_detection_fits_into_one_and_a_half_keepalives() -> None:
    whole = 2 * ASK_PART
    assert whole + whole / TICKS_PER_SILENCE <= 1.5
