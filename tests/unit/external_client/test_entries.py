from __future__ import annotations

from module_gateway.external_client.entries import Entry, Fold
from module_gateway.protocol.external import Position
from tests.unit.external_client.world import device


def test_marker_has_no_position() -> None:
    assert Entry(device(), b"x").is_marker
    assert Entry(device(), b"x").position is None


def test_entry_names_its_place_in_its_outbox() -> None:
    entry = Entry(device(), b"x", 5, 11)
    assert not entry.is_marker
    assert Position(11, 5) == entry.position
    assert device().identity == entry.identity


def test_position_of_a_fold_is_its_newest_entry() -> None:
    assert Position(11, 9) == Fold(device(), 11, 2, 9, b"x").position
