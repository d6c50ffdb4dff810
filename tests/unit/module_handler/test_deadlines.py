"""Deadlines that are re-armed far more often than they expire."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from module_gateway.module_handler.deadlines import Deadlines


def test_keys_expire_in_order_of_their_times() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.arm("late", 3.0)
    deadlines.arm("early", 1.0)
    deadlines.arm("never", 9.0)
    assert ["early", "late"] == deadlines.expired(3.0)
    assert [] == deadlines.expired(3.0)


def test_a_deadline_that_moved_later_does_not_expire_early() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.arm("a", 1.0)
    deadlines.arm("a", 5.0)
    assert [] == deadlines.expired(4.9)
    assert 5.0 == deadlines.due("a")
    assert ["a"] == deadlines.expired(5.0)


def test_a_deadline_that_moved_earlier_expires_once() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.arm("a", 5.0)
    deadlines.arm("a", 1.0)
    assert ["a"] == deadlines.expired(1.0)
    assert [] == deadlines.expired(10.0)


def test_a_disarmed_key_does_not_expire() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.arm("a", 1.0)
    deadlines.disarm("a")
    deadlines.disarm("unknown")
    assert [] == deadlines.expired(2.0)
    assert deadlines.next_due() is None


def test_next_due_is_never_after_the_first_deadline() -> None:
    deadlines: Deadlines[str] = Deadlines()
    assert deadlines.next_due() is None
    deadlines.arm("a", 2.0)
    deadlines.arm("a", 4.0)
    due = deadlines.next_due()
    assert due is not None
    assert due <= 4.0


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.one_of(st.none(), st.floats(0, 10)), st.floats(0, 2)),
        max_size=60,
    )
)
def test_it_equals_a_plain_table(steps: list[tuple[int, float | None, float]]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    table: dict[int, float] = {}
    now = 0.0
    for key, due_in, wait in steps:
        if due_in is None:
            deadlines.disarm(key)
            table.pop(key, None)
        else:
            deadlines.arm(key, now + due_in)
            table[key] = now + due_in
        now += wait
        expected = {key for key, due in table.items() if due <= now}
        next_due = deadlines.next_due()
        assert not expected or (next_due is not None and next_due <= now)
        assert expected == set(deadlines.expired(now))
        table = {key: due for key, due in table.items() if due > now}
