from __future__ import annotations

from module_gateway.external_client.quarantine import Quarantine
from tests.unit.external_client.world import device

A, B = device("a").identity, device("b").identity


def test_wait_doubles_up_to_the_limit() -> None:
    quarantine = Quarantine(30.0, 600.0)
    now, waits = 0.0, []
    for _ in range(7):
        quarantine.confine(A, now)
        due = quarantine.next_due()
        assert due is not None
        waits.append(due - now)
        now = due
    assert [30, 60, 120, 240, 480, 600, 600] == waits


def test_due_in_order_of_waiting() -> None:
    quarantine = Quarantine(30.0, 600.0)
    quarantine.confine(A, 5.0)
    quarantine.confine(B, 0.0)
    assert [] == quarantine.due(29.0)
    assert [B] == quarantine.due(30.0)
    assert [B, A] == quarantine.due(40.0)


def test_postponed_and_released() -> None:
    quarantine = Quarantine(30.0, 600.0)
    quarantine.confine(A, 0.0)
    quarantine.postpone(A, 30.0)
    quarantine.postpone(B, 30.0)
    assert 60.0 == quarantine.next_due()
    quarantine.release(A)
    quarantine.release(A)
    assert quarantine.next_due() is None
    assert 0 == len(quarantine)
    assert A not in quarantine
