from __future__ import annotations

from module_gateway.control_plane.events import StatusApplied, StatusRepeated
from module_gateway.control_plane.lanes import Lanes
from module_gateway.control_plane.positions import STRETCHES_OFFERED, AppliedPositions
from module_gateway.protocol.external import (
    APPLIED_CAPABILITY,
    LISTENS_CAPABILITY,
    REPLAY_CAPABILITY,
    ConnectResponse,
    Position,
    Stretch,
)
from tests.control_plane_script import BUTTON, LAMP, SESSION, connect, status

BOTH = (APPLIED_CAPABILITY, REPLAY_CAPABILITY)
IDENTITY = BUTTON.identity


def lanes(positions: AppliedPositions | None = None, capabilities=BOTH) -> Lanes:
    positions = positions if positions is not None else AppliedPositions()
    return Lanes(connect(capabilities=capabilities), [IDENTITY], positions)


def crowded() -> AppliedPositions:
    positions = AppliedPositions()
    for number in range(1, STRETCHES_OFFERED + 1):
        positions.advance(IDENTITY, Position(9, number * 10), number * 10)
    return positions


def test_R18_a_gateway_with_lanes_is_told_both_what_is_complete_and_what_is_live():
    positions = AppliedPositions({IDENTITY: [Position(9, 5)], LAMP.identity: [Position(9, 7)]})
    positions.advance(IDENTITY, Position(9, 12), 11)
    assert lanes(positions).answer == ConnectResponse(
        SESSION,
        0,
        ((IDENTITY, Position(9, 5)),),
        ((IDENTITY, Stretch(9, 11, 12)),),
        (REPLAY_CAPABILITY, LISTENS_CAPABILITY),
    )


def test_R18_a_gateway_without_lanes_gets_exactly_the_answer_of_before():
    positions = AppliedPositions({IDENTITY: [Position(9, 5)]})
    positions.advance(IDENTITY, Position(9, 12), 11)
    applied = ((IDENTITY, Position(9, 5)),)
    only_applied = ConnectResponse(SESSION, 0, applied, (), (LISTENS_CAPABILITY,))
    assert lanes(positions, (APPLIED_CAPABILITY,)).answer == only_applied
    assert lanes(positions, ()).answer == ConnectResponse(SESSION, 0)
    only_lanes = ConnectResponse(SESSION, 0, (), (), (REPLAY_CAPABILITY, LISTENS_CAPABILITY))
    assert lanes(positions, (REPLAY_CAPABILITY,)).answer == only_lanes


def test_R18_with_too_many_stretches_everything_comes_in_one_order():
    positions = crowded()
    one = lanes(positions)
    assert one.answer.capabilities == (LISTENS_CAPABILITY,)
    assert len(one.answer.applied_live) == STRETCHES_OFFERED
    record = one.record(status(1, sequence=5000, is_live=True), is_connected=True)
    assert isinstance(record, StatusApplied)
    assert record.live_from == 0
    assert lanes(positions).answer.capabilities == (REPLAY_CAPABILITY, LISTENS_CAPABILITY)


def test_R18_a_live_stretch_begins_with_its_session():
    positions = AppliedPositions()
    first = lanes(positions)
    for sequence, live_from in ((20, 20), (24, 20)):
        record = first.record(status(1, sequence=sequence, is_live=True), is_connected=True)
        assert isinstance(record, StatusApplied)
        assert record.live_from == live_from
    record = first.record(status(1, LAMP, sequence=26, is_live=True), is_connected=True)
    assert record.live_from == 26
    record = lanes(positions).record(status(1, sequence=30, is_live=True), is_connected=True)
    assert record.live_from == 30


def test_R18_what_was_live_is_repeated_when_it_comes_as_replayed():
    positions = AppliedPositions()
    lanes(positions).record(status(1, sequence=20, is_live=True), is_connected=True)
    again = lanes(positions)
    older = again.record(status(1, sequence=7, is_replayed=True), is_connected=True)
    assert isinstance(older, StatusApplied)
    assert older.is_replayed
    same = again.record(status(2, sequence=20, is_replayed=True), is_connected=False)
    assert same == StatusRepeated(BUTTON, Position(9, 20), False)
    assert positions.of(IDENTITY) == (Position(9, 20),)


def test_R18_a_fold_across_a_stretch_is_applied_rather_than_lost():
    positions = AppliedPositions()
    lanes(positions).record(status(1, sequence=20, is_live=True), is_connected=True)
    fold = status(1, sequence=20, is_replayed=True, error=b"sum")
    assert isinstance(lanes(positions).record(fold, is_connected=True), StatusApplied)
    assert isinstance(lanes(positions).record(fold, is_connected=True), StatusRepeated)


def test_R9_a_repeat_has_no_position_in_any_lane():
    record = lanes().record(status(1, sequence=0, is_live=True), is_connected=True)
    assert isinstance(record, StatusApplied)
    assert (record.position, record.live_from) == (None, 0)
