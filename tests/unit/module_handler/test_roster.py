"""What one internal server has open, and the comparison with what it says."""

from __future__ import annotations

from module_gateway.module_handler.roster import Connection, Roster, Seat, Standing
from module_gateway.protocol.live_digest import RunningDigest
from tests.unit.module_handler.rig import device


def seat(instance: int) -> Seat:
    return Seat(Connection(1, instance), device(str(instance)), Standing.HOLDER)


def roster(*instances: int) -> Roster:
    made = Roster()
    for instance in instances:
        made.add(seat(instance))
    return made


def digest(*instances: int) -> tuple[int, int]:
    made = RunningDigest()
    for instance in instances:
        made.add(instance)
    return made.count, made.value


def test_it_agrees_with_the_digest_of_the_same_instances() -> None:
    made = roster(1, 2, 3)
    made.remove(2)
    assert made.agrees_with(*digest(3, 1))
    assert not made.agrees_with(*digest(1, 2, 3))
    assert not made.agrees_with(*digest(1, 4))


def test_a_complete_list_leaves_the_seats_that_it_does_not_name() -> None:
    made = roster(1, 2, 3)
    made.begin_list()
    made.listed(1)
    made.listed(3)
    assert [2] == [missing.connection.instance for missing in made.end_list()]
    assert not made.is_listing()


def test_a_connect_between_the_parts_of_a_list_is_not_missing() -> None:
    made = roster(1)
    made.begin_list()
    made.listed(1)
    made.add(seat(9))
    assert [] == made.end_list()


def test_an_end_between_the_parts_of_a_list_is_not_missing_twice() -> None:
    made = roster(1, 2)
    made.begin_list()
    made.remove(2)
    made.listed(1)
    assert [] == made.end_list()


def test_removing_an_unknown_instance_changes_nothing() -> None:
    made = roster(1)
    assert made.remove(5) is None
    assert made.agrees_with(*digest(1))
    assert 1 == len(made)
