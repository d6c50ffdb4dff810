from __future__ import annotations

from module_gateway.external_client.backlog import Backlog
from module_gateway.external_client.effects import Confined, Count
from module_gateway.external_client.entries import Entry
from module_gateway.external_client.guest_list import GuestList
from module_gateway.external_client.quarantine import Quarantine
from module_gateway.external_client.roster import Roster
from module_gateway.protocol.errors import Reason
from tests.unit.external_client.world import MODULE, TraceModule, device

A, B, C = device("a"), device("b"), device("c")


def make(*registered: str) -> GuestList:
    roster = Roster(30.0)
    roster.replace(1, tuple((device(role), b"now " + role.encode()) for role in registered), 0.0)
    return GuestList(roster, Backlog({MODULE: TraceModule()}), Quarantine(30.0, 600.0))


def roles(guest_list: GuestList, now: float = 0.0) -> list[str]:
    return [each.device.identity.role for each in guest_list.guests(now)]


def test_nothing_to_report() -> None:
    guest_list = make()
    assert not guest_list.is_reportable(0.0)
    assert () == guest_list.guests(0.0)


def test_registered_and_folded_devices_are_listed_once() -> None:
    guest_list = make("a", "b")
    for each in (B, C):
        guest_list._folds.add_status(Entry(each, b"f", 1, 11))
    assert ["a", "b", "c"] == roles(guest_list)
    assert b"now b" == guest_list.guests(0.0)[1].status
    assert b"f" == guest_list.guests(0.0)[2].status


def test_quarantined_devices_are_left_out_until_nobody_else_is_there() -> None:
    guest_list = make("a", "b")
    effects = guest_list.confine((A.identity,), 0.0)
    assert [Count(Reason.QUARANTINED), Confined(A.identity)] == effects
    assert ["b"] == roles(guest_list, 100.0)
    guest_list.roster.replace(1, ((A, b"a"),), 0.0)
    assert not guest_list.is_reportable(29.0)
    assert guest_list.is_reportable(30.0)
    assert ["a"] == roles(guest_list, 30.0)


def test_proven_devices_come_first_and_the_others_change_places() -> None:
    guest_list = make("a", "b", "c")
    guest_list.accepted(C.identity)
    assert ["c", "a", "b"] == roles(guest_list)
    guest_list.session_ended(has_accepted=False)
    assert ["c", "b", "a"] == roles(guest_list)
    guest_list.session_ended(has_accepted=True)
    assert ["c", "b", "a"] == roles(guest_list)


def test_acknowledgement_ends_a_quarantine() -> None:
    guest_list = make("a")
    guest_list.confine((A.identity,), 0.0)
    guest_list.accepted(A.identity)
    assert ["a"] == roles(guest_list)


def test_R18_who_is_behind_is_not_listed_before_something_of_it_arrives() -> None:
    guest_list = make("a")
    guest_list.roster.replace(1, ((A, b"a"), (B, b"b")), 0.0, frozenset({A.identity}))
    assert ["b"] == roles(guest_list)
    guest_list._folds.add_status(Entry(A, b"f", 1, 11))
    assert ["a", "b"] == roles(guest_list)


def test_who_is_behind_alone_is_nothing_to_report() -> None:
    guest_list = make("a")
    guest_list.roster.replace(1, ((A, b"a"),), 0.0, frozenset({A.identity}))
    assert not guest_list.is_reportable(0.0)
    guest_list.roster.note(Entry(A, b"older", 1, 11))
    assert guest_list.is_reportable(0.0)
    assert ["a"] == roles(guest_list)
