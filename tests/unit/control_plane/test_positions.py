from __future__ import annotations

from module_gateway.control_plane.positions import STORES_KEPT, AppliedPositions
from module_gateway.protocol.external import Position
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
