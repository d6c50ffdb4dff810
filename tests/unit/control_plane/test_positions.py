from __future__ import annotations

from module_gateway.control_plane.positions import (
    STORES_KEPT,
    STRETCHES_KEPT,
    STRETCHES_OFFERED,
    AppliedPositions,
)
from module_gateway.protocol.external import Position, Stretch
from tests.control_plane_script import BUTTON, LAMP


def test_a_sequence_is_new_once():
    positions = AppliedPositions()
    assert positions.advance(BUTTON.identity, Position(1, 5))
    assert not positions.advance(BUTTON.identity, Position(1, 5))
    assert not positions.advance(BUTTON.identity, Position(1, 4))
    assert positions.advance(BUTTON.identity, Position(1, 6))
    assert positions.of(BUTTON.identity) == (Position(1, 6),)


def test_devices_and_stores_are_independent():
    positions = AppliedPositions()
    positions.advance(BUTTON.identity, Position(1, 5))
    assert positions.advance(BUTTON.identity, Position(2, 5))
    assert positions.advance(LAMP.identity, Position(1, 5))


def test_the_oldest_store_is_forgotten_first():
    positions = AppliedPositions()
    for store_id in range(STORES_KEPT):
        positions.advance(BUTTON.identity, Position(store_id, 1))
    positions.advance(BUTTON.identity, Position(0, 2))
    positions.advance(BUTTON.identity, Position(99, 1))
    assert [position.store_id for position in positions.of(BUTTON.identity)] == [2, 3, 0, 99]


def test_a_copy_advances_alone():
    positions = AppliedPositions({BUTTON.identity: [Position(1, 5)]})
    positions.copy().advance(BUTTON.identity, Position(1, 6))
    assert positions.of_all([LAMP.identity, BUTTON.identity]) == (
        (BUTTON.identity, Position(1, 5)),
    )


# ---- lanes (R18) -------------------------------------------------------------------------------


def advance(positions: AppliedPositions, sequence: int, live_from: int = 0, **options) -> bool:
    return positions.advance(BUTTON.identity, Position(1, sequence), live_from, **options)


def live(positions: AppliedPositions) -> list[tuple[int, int]]:
    listed = positions.live_of_all([BUTTON.identity])
    assert all(entry[0] == BUTTON.identity and entry[1].store_id == 1 for entry in listed)
    return [(stretch.first_sequence, stretch.sequence) for _, stretch in listed]


def test_R18_a_live_status_leaves_what_is_before_it_open():
    positions = AppliedPositions()
    advance(positions, 5)
    assert advance(positions, 20, live_from=20)
    assert advance(positions, 24, live_from=20)
    assert not advance(positions, 22, live_from=20)
    assert positions.of_all([BUTTON.identity]) == ((BUTTON.identity, Position(1, 5)),)
    assert positions.live_of_all([BUTTON.identity]) == ((BUTTON.identity, Stretch(1, 20, 24)),)
    assert advance(positions, 7)


def test_R18_nothing_is_listed_as_applied_before_it_is():
    positions = AppliedPositions()
    advance(positions, 20, live_from=20)
    assert positions.of_all([BUTTON.identity]) == ()


def test_R18_a_replay_swallows_the_stretches_that_it_reaches():
    positions = AppliedPositions()
    advance(positions, 20, live_from=20)
    advance(positions, 30, live_from=30)
    assert not advance(positions, 20)
    assert (positions.of(BUTTON.identity), live(positions)) == ((Position(1, 20),), [(30, 30)])
    assert advance(positions, 31)
    assert (positions.of(BUTTON.identity), live(positions)) == ((Position(1, 31),), [])


def test_R18_neighbours_grow_together():
    positions = AppliedPositions()
    advance(positions, 20, live_from=20)
    advance(positions, 21, live_from=21)
    assert live(positions) == [(20, 21)]
    advance(positions, 30, live_from=30)
    assert advance(positions, 19)
    assert (positions.of(BUTTON.identity), live(positions)) == ((Position(1, 21),), [(30, 30)])


def test_R18_a_live_stretch_next_to_what_is_complete_belongs_to_it():
    positions = AppliedPositions()
    advance(positions, 5)
    assert advance(positions, 6, live_from=6)
    assert (positions.of(BUTTON.identity), live(positions)) == ((Position(1, 6),), [])


def test_R18_a_fold_whose_number_is_in_a_stretch_is_not_refused_before_it_was_applied():
    positions = AppliedPositions()
    advance(positions, 20, live_from=20)
    advance(positions, 22, live_from=20)
    assert advance(positions, 21, is_fold=True)
    assert not advance(positions, 21, is_fold=True)


def test_R18_too_many_stretches_are_noticed_and_bounded():
    positions = AppliedPositions()
    for number in range(1, STRETCHES_KEPT + 2):
        assert positions.is_crowded(BUTTON.identity) is (number > STRETCHES_OFFERED)
        advance(positions, number * 10, live_from=number * 10)
    assert len(live(positions)) == STRETCHES_KEPT
    assert live(positions)[0] == (20, 20)
    positions.advance(BUTTON.identity, Position(2, 1))
    assert not positions.is_crowded(BUTTON.identity)
    assert not positions.is_crowded(LAMP.identity)


def test_the_newest_entry_is_known():
    positions = AppliedPositions()
    assert positions.is_newest(BUTTON.identity, Position(1, 5))
    advance(positions, 5)
    advance(positions, 9, live_from=9)
    assert [positions.is_newest(BUTTON.identity, Position(1, n)) for n in (8, 9, 10)] == [
        False,
        True,
        True,
    ]
    assert positions.is_newest(BUTTON.identity, Position(2, 1))


def test_R18_a_copy_has_its_own_stretches():
    positions = AppliedPositions()
    advance(positions, 9, live_from=9)
    advance(positions.copy(), 12, live_from=9)
    advance(positions.copy(), 9)
    assert (positions.of_all([BUTTON.identity]), live(positions)) == ((), [(9, 9)])
