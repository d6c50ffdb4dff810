from __future__ import annotations

from module_gateway.external_client.entries import Entry, Receipt
from module_gateway.external_client.roster import Roster
from tests.unit.external_client.world import device

A, B = device("a"), device("b")


def entry(status: bytes, peer: int = 1, **more: bool) -> Entry:
    return Entry(A, status, 1, 11, receipt=Receipt(peer, 1, 1), **more)


def test_snapshot_is_the_whole_truth_of_its_handler() -> None:
    roster = Roster(30.0)
    roster.replace(1, ((A, b"a"),), 0.0)
    roster.replace(2, ((B, b"b"),), 0.0)
    roster.replace(1, (), 5.0)
    assert [B.identity] == list(roster)
    assert 35.0 == roster.next_absence()


def test_entries_correct_the_snapshot() -> None:
    roster = Roster(30.0)
    roster.note(entry(b"1"))
    assert b"1" == roster.marker(A.identity).status
    roster.note(entry(b"2", ends_registration=True))
    assert A.identity not in roster
    assert roster.next_absence() is None


def test_missing_device_is_named_once_after_its_time() -> None:
    roster = Roster(30.0)
    roster.replace(1, ((A, b"a"),), 0.0)
    roster.lose(1, 10.0)
    assert [] == roster.gone(39.0)
    assert [A.identity] == roster.gone(40.0)
    assert [] == roster.gone(50.0)
    assert 0 == len(roster)


def test_device_that_returns_in_time_is_not_missed() -> None:
    roster = Roster(30.0)
    roster.replace(1, ((A, b"a"),), 0.0)
    roster.lose(1, 10.0)
    roster.replace(2, ((A, b"again"),), 20.0)
    assert [] == roster.gone(100.0)
