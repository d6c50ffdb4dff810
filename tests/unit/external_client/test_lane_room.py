"""How full the handler's window for replayed entries is (contract R18)."""

from __future__ import annotations

from module_gateway.external_client.entries import Entry
from module_gateway.external_client.lane_room import OVERHEAD_BYTES, LaneRoom
from tests.unit.external_client.world import device


def entry(size_bytes: int = 0) -> Entry:
    return Entry(device("a"), b"x" * size_bytes, 1, 11)


def test_room_is_full_at_the_window_and_until_half_of_it_is_free() -> None:
    room = LaneRoom(4, 2**20)
    for number in range(4):
        assert (False, number) == (room.is_full, room.held)
        room.take(entry())
    for _ in range(2):
        assert room.is_full
        room.give(entry())
    assert room.is_full
    room.give(entry())
    assert not room.is_full


def test_bytes_are_counted_as_the_handler_counts_them() -> None:
    room = LaneRoom(100, 2 * OVERHEAD_BYTES + 100)
    room.take(entry(50))
    assert not room.is_full
    room.take(Entry(device("a"), b"x" * 30, 2, 11, error=b"y" * 20))
    assert room.is_full
