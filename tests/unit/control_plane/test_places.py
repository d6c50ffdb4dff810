from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from module_gateway.control_plane.places import STEP, Placed, Places
from module_gateway.control_plane.records import StatusRecord
from module_gateway.protocol.external import Position


class Shelf:
    """A history as a database keeps it."""

    def __init__(self) -> None:
        self.places = Places()
        self.rows: dict[int, StatusRecord] = {}
        self.looks = 0

    def downwards(self, below: int) -> Iterator[Placed]:
        self.looks += 1
        yield from sorted(((p, s) for p, s in self.rows.items() if p < below), reverse=True)

    def keep(self, sequence: int, *, is_replayed: bool = False) -> None:
        position = Position(1, sequence)
        status = StatusRecord(len(self.rows) + 1, 0, 1, b"", None, 0, position, is_replayed)
        place = self.places.next(status, self.downwards)
        assert place not in self.rows
        self.rows[place] = status

    def order(self) -> list[int]:
        found = (self.rows[place].position for place in sorted(self.rows))
        return [position.sequence for position in found if position is not None]


def test_live_statuses_stand_in_the_order_of_their_arrival() -> None:
    shelf = Shelf()
    for sequence in (1, 2, 7):
        shelf.keep(sequence)
    assert list(shelf.rows) == [STEP, 2 * STEP, 3 * STEP]


def test_a_replay_is_looked_up_once_and_then_follows_itself() -> None:
    shelf = Shelf()
    shelf.keep(1)
    shelf.keep(900)
    for sequence in range(2, 500):
        shelf.keep(sequence, is_replayed=True)
    assert shelf.order() == [*range(1, 500), 900]
    assert shelf.looks == 1


def test_live_statuses_in_between_do_not_disturb_a_replay() -> None:
    shelf = Shelf()
    shelf.keep(100)
    for sequence in range(1, 50):
        shelf.keep(sequence, is_replayed=True)
        shelf.keep(100 + sequence)
    assert shelf.order() == [*range(1, 50), *range(100, 150)]
    assert shelf.looks == 1


def test_what_is_replayed_before_anything_else_stands_first() -> None:
    shelf = Shelf()
    shelf.keep(3, is_replayed=True)
    shelf.keep(1, is_replayed=True)
    assert shelf.order() == [1, 3]


@given(st.permutations(range(1, 15)), st.integers(0, 14))
def test_any_order_of_replay_gives_the_order_of_recording(
    arrival: list[int], first_live: int
) -> None:
    shelf = Shelf()
    for sequence in sorted(arrival[:first_live]):
        shelf.keep(sequence)
    for sequence in arrival[first_live:]:
        shelf.keep(sequence, is_replayed=True)
    assert shelf.order() == sorted(arrival)
