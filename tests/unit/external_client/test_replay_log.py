"""All devices whose every entry is sent (contract R18). Their sessions: test_replay.py."""

from __future__ import annotations

from module_gateway.external_client.entries import Entry, Flight, Lane, Receipt
from module_gateway.external_client.replay_log import ReplayLog
from module_gateway.protocol.external import Position, Stretch
from tests.unit.external_client.world import MODULE, OTHER_MODULE, device

A, B = device("a"), device("b")
STORE = 11


def make(*, splits: bool = False) -> ReplayLog:
    log = ReplayLog(frozenset({MODULE}), [], [], (4, 2**20))
    log.splits_live = splits
    return log


def entry(sequence: int, lane: Lane = Lane.REPLAYED, role: str = "a", **more: object) -> Entry:
    more = {"receipt": Receipt(1, 1, sequence, lane), **more}
    return Entry(device(role), b"%d" % sequence, sequence, STORE, lane=lane, **more)  # type: ignore[arg-type]


def test_modules_decide_what_is_covered() -> None:
    assert make().covers(A.identity)
    assert not make().covers(device("a", module=OTHER_MODULE).identity)


def test_device_without_a_line_has_nothing() -> None:
    log = make()
    log.trim(A.identity, Position(STORE, 1))
    log.rewind(A.identity)
    log.settle(A.identity)
    log.acknowledge_guest(A.identity)
    log.acknowledge(Flight(1, A.identity, 1, 0.0, entry(1)))
    assert log.newest(A.identity) is None
    assert log.pop(A.identity, Lane.LIVE, is_announced=True) is None
    assert log.pop_oldest(A.identity) is None
    assert log.pop_for_guest(A.identity) is None
    log.unpark(A.identity)
    assert not log.needs_lease
    assert 0 == log.waiting(A.identity) == log.held
    assert [] == [*log] == log.folds() == log._acknowledgements


def test_R18_live_entries_are_taken_only_while_the_session_splits() -> None:
    assert not make().receive(entry(5, Lane.LIVE))
    log = make(splits=True)
    assert log.receive(entry(5, Lane.LIVE))
    assert log.is_overtaken(entry(4))
    assert not log.is_overtaken(entry(6, Lane.LIVE))
    assert not log.is_overtaken(entry(4, role="b"))


def test_R18_handler_that_begins_anew_breaks_a_split_with_live_entries_of_its_store() -> None:
    log = make(splits=True)
    assert not log.handler_began(STORE)
    log.receive(entry(5, Lane.LIVE))
    assert not log.handler_began(STORE + 1)
    assert log.receive(entry(6, Lane.LIVE))
    assert log.handler_began(STORE)
    assert not log.receive(entry(7, Lane.LIVE))
    assert not log.receive(entry(3))
    log.end_session()
    assert log.receive(entry(3))


def test_R18_end_of_a_split_forgets_and_any_other_end_does_not() -> None:
    log = make()
    log.receive(entry(1))
    log.end_session()
    assert A.identity in log
    log.splits_live = True
    log.end_session()
    assert A.identity not in log
    assert not log.splits_live


def test_device_has_left_when_its_last_live_entry_said_so_and_nothing_waits() -> None:
    log = make(splits=True)
    log.receive(entry(1))
    log.receive(entry(5, Lane.LIVE, ends_registration=True))
    for lane in (Lane.LIVE, Lane.REPLAYED):
        assert not log.has_left(A.identity)
        sent = log.pop(A.identity, lane, is_announced=True)
        flight = Flight(1, A.identity, 1, 0.0, sent)
        log.fly(flight)
        assert not log.has_left(A.identity)
        log.acknowledge(flight)
    assert log.has_left(A.identity)


def test_folds_are_found_when_they_are_next() -> None:
    log = make()
    log.receive(entry(1))
    log.receive(entry(4, error=b"e", first_sequence=2))
    assert [] == log.folds()
    log.pop(A.identity, Lane.REPLAYED, is_announced=True)
    assert [A.identity] == log.folds()
    log.pop(A.identity, Lane.REPLAYED, is_announced=False)
    assert [] == log.folds()


def test_stretch_is_remembered_of_a_device_that_was_not_delivered_yet() -> None:
    log = make()
    log.skip(A.identity, Stretch(STORE, 3, 4))
    log.skip(device("x", module=OTHER_MODULE).identity, Stretch(STORE, 3, 4))
    assert [] == log._acknowledgements  # its store may be an earlier one
    assert not log.receive(entry(3))
    assert [3] == [each.position.sequence for each in log._acknowledgements]
    assert log.receive(entry(5))


def test_R16_parked_device_stays_out_of_the_turns_until_it_is_known() -> None:
    log = make()
    log.park(device("x", module=OTHER_MODULE).identity)
    log.receive(entry(1))
    log.receive(entry(2))
    log.park(A.identity)
    assert not log.is_sendable(A.identity, Lane.REPLAYED, is_announced=False)
    assert A.identity in log
    log.unpark(A.identity)
    assert log.needs_lease
    assert not log.receive(entry(3))
    log.handler_began(STORE)
    assert log.receive(entry(2))


def test_R18_full_lane_means_that_others_may_have_older_entries() -> None:
    log = make()
    for sequence in range(1, 5):
        assert not log.is_behind
        log.receive(entry(sequence))
    assert log.is_behind
    for left in (3, 2, 1):
        sent = log.pop(A.identity, Lane.REPLAYED, is_announced=True)
        assert sent is not None
        log.swallow(sent)
        assert log.is_behind == (left > 1)


def test_R18_order_matters_only_while_there_is_one() -> None:
    log = make()
    for sequence in range(1, 5):
        log.receive(entry(sequence))
    log.splits_live = True
    assert not log.is_behind


def test_forgotten_devices_stay_in_quarantine() -> None:
    log = make()
    for role in "ab":
        for sequence in (1, 2, 3):
            log.receive(entry(sequence, role=role))
    log.park(A.identity)
    log.forget_all()
    assert 0 == log.held
    assert not log.is_behind
    for role in "ab":
        assert log.receive(entry(1, role=role))
    assert not log.is_sendable(A.identity, Lane.REPLAYED, is_announced=False)
    assert log.is_sendable(B.identity, Lane.REPLAYED, is_announced=False)


def test_prune_forgets_only_what_is_settled() -> None:
    log = make()
    for role in "abc":
        log.receive(entry(1, role=role))
    for role in "ac":
        sent = log.pop(device(role).identity, Lane.REPLAYED, is_announced=True)
        assert sent is not None
        log.swallow(sent)
    log.prune(keep=2)
    assert ["b", "c"] == [each.role for each in log._lines]
    log.prune(keep=0)
    assert ["b"] == [each.role for each in log._lines]
