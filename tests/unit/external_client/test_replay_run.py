"""A part of one device's log that is sent entry by entry (contract R18)."""

from __future__ import annotations

import pytest

from module_gateway.external_client.entries import Entry, Flight
from module_gateway.external_client.replay_run import Run, is_in, is_repeated_end, is_within
from module_gateway.protocol.external import Position, Stretch
from tests.unit.external_client.world import device

A = device("a")
STORE = 11


def entry(sequence: int, **more: object) -> Entry:
    return Entry(A, b"", sequence, STORE, **more)  # type: ignore[arg-type]


def test_rewound_run_gives_what_was_sent_in_vain_and_remembers_the_rest() -> None:
    run = Run()
    for number, is_acknowledged in ((1, False), (2, True), (3, True), (4, False)):
        flight = Flight(number, A.identity, 1, 0.0, entry(number), is_acknowledged=is_acknowledged)
        run.in_flight.append(flight)
    again = run.rewind()
    assert [1, 4] == [each.sequence for each in again]
    assert [3, 4] == [run.done_to(each) for each in again]
    assert [1] == [run.done_to(again[0])]


@pytest.mark.parametrize(
    ("fields", "is_it"),
    [
        ({"ends_registration": True, "is_repeat": True}, True),
        ({"ends_registration": True}, False),
        ({"is_repeat": True}, False),
        ({"ends_registration": True, "is_repeat": True, "error": b""}, False),
    ],
)
def test_repeated_end_says_that_the_device_has_left_and_nothing_else(
    fields: dict[str, object], is_it: bool
) -> None:
    assert is_it == is_repeated_end(entry(1, **fields))


def test_position_covers_its_own_store_and_every_marker() -> None:
    assert is_within(entry(3), Position(STORE, 3))
    assert not is_within(entry(4), Position(STORE, 3))
    assert not is_within(entry(3), Position(STORE + 1, 3))
    assert is_within(Entry(A, b""), Position(STORE, 3))


def test_stretch_covers_entries_and_whole_folds_of_its_own_store() -> None:
    stretch = Stretch(STORE, 3, 5)
    assert [False, True, True, False] == [is_in(entry(each), stretch) for each in (2, 3, 5, 6)]
    assert not is_in(entry(5, first_sequence=2, error=b"e"), stretch)
    assert is_in(entry(5, first_sequence=3, error=b"e"), stretch)
    assert not is_in(entry(4), Stretch(STORE + 1, 3, 5))
