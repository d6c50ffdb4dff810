from __future__ import annotations

from module_gateway.external_client.backoff import Backoff, Pause


def test_ceiling_doubles_from_one_to_ten_seconds_and_starts_again() -> None:
    backoff = Backoff(1.0, 10.0, lambda: 1.0)
    assert [1, 2, 4, 8, 10, 10] == [backoff.next() for _ in range(6)]
    backoff.reset()
    assert 1 == backoff.next()


def test_jitter_is_full() -> None:
    chances = iter((0.0, 0.5, 0.25))
    backoff = Backoff(1.0, 10.0, lambda: next(chances))
    assert [0.0, 1.0, 1.0] == [backoff.next() for _ in range(3)]


def test_pause_lies_between_its_bounds() -> None:
    chances = iter((0.0, 0.5, 1.0))
    pause = Pause(1.0, 2.0, lambda: next(chances))
    assert [1.0, 1.5, 2.0] == [pause.next() for _ in range(3)]
