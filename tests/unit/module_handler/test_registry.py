"""Who holds an identity: refusal needs proof, takeover closes first, lists win."""

from __future__ import annotations

import pytest

from module_gateway.module_handler.outcomes import (
    Accepted,
    Adopted,
    CloseWanted,
    HolderEnded,
    ListWanted,
    Outcome,
    ProbeWanted,
    Refused,
)
from module_gateway.module_handler.registry import MAX_WAITING, Listed, Registry
from module_gateway.module_handler.roster import Connection, Seat, Standing
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device
from module_gateway.protocol.live_digest import RunningDigest
from tests.unit.module_handler.rig import device

WINDOW_S = 0.15
LOST_S = 4.0
SERVER = 1
OTHER = 2


class Desk:
    """A registry with a clock; connections are numbers, their servers `SERVER` unless said."""

    def __init__(self) -> None:
        self.registry = Registry(WINDOW_S, LOST_S)
        self.now = 10.0

    def connect(
        self, instance: int, priority: int = 0, role: str = "a", server: int = SERVER
    ) -> list[Outcome]:
        who = device(role, priority, name=f"n{instance}")
        outcomes = self.registry.connect(Connection(server, instance), who)
        return outcomes + self.registry.admit(self.now)

    def end(
        self, instance: int, cause: int = bus_pb2.CLOSED_BY_PEER, server: int = SERVER
    ) -> list[Outcome]:
        return self.registry.end(Connection(server, instance), cause, self.now)

    def probed(self, instance: int, *, is_alive: bool, server: int = SERVER) -> list[Outcome]:
        connection = Connection(server, instance)
        return self.registry.answer_probe(connection, is_alive=is_alive, now=self.now)

    def pass_time(self, seconds: float) -> list[Outcome]:
        self.now += seconds
        return self.registry.expire(self.now)

    def list(
        self, *lines: tuple[int, Device, int], server: int = SERVER, is_decided: bool = True
    ) -> list[Outcome]:
        listed = [Listed(i, who, last, is_decided) for i, who, last in lines]
        return self.registry.reconcile(server, listed, is_first=True, is_last=True, now=self.now)

    def holder(self, role: str = "a") -> int | None:
        seat = self.registry.holder(device(role).identity)
        return None if seat is None else seat.connection.instance


@pytest.fixture
def desk() -> Desk:
    return Desk()


def said(outcomes: list[Outcome]) -> list[tuple[object, ...]]:
    """Outcomes as comparable words."""
    words: list[tuple[object, ...]] = []
    for outcome in outcomes:
        match outcome:
            case Accepted(seat):
                words.append(("accepted", seat.connection.instance))
            case Refused(seat, reason):
                words.append(("refused", seat.connection.instance, reason))
            case HolderEnded(seat, cause):
                words.append(("ended", seat.connection.instance, cause))
            case Adopted(seat):
                words.append(("adopted", seat.connection.instance))
            case ProbeWanted(connection):
                words.append(("probe", connection.instance))
            case CloseWanted(connection, cause, _):
                words.append(("close", connection.instance, cause))
            case ListWanted(server):
                words.append(("list", server))
    return words


# The connect decision


def test_a_free_identity_is_given_at_once(desk: Desk) -> None:
    assert [("accepted", 1)] == said(desk.connect(1))
    assert 1 == desk.holder()


def test_I4_equal_priority_is_refused_when_the_incumbent_proves_alive(desk: Desk) -> None:
    desk.connect(1)
    assert [("probe", 1)] == said(desk.connect(2))
    outcomes = desk.probed(1, is_alive=True)
    assert [("refused", 2, Reason.ALREADY_CONNECTED)] == said(outcomes)
    assert 1 == desk.holder()


def test_I5_lower_priority_is_refused_when_the_incumbent_proves_alive(desk: Desk) -> None:
    desk.connect(1, priority=1)
    assert [("probe", 1)] == said(desk.connect(2, priority=2))
    outcomes = desk.probed(1, is_alive=True)
    assert [("refused", 2, Reason.HIGHER_PRIORITY_ALREADY_CONNECTED)] == said(outcomes)
    assert 1 == desk.holder()


def test_I6_takeover_closes_incumbent_before_ok(desk: Desk) -> None:
    desk.connect(1, priority=1)
    assert [("close", 1, bus_pb2.TAKEN_OVER)] == said(desk.connect(2, priority=0))
    assert 1 == desk.holder()
    outcomes = desk.end(1, bus_pb2.TAKEN_OVER)
    assert [("ended", 1, bus_pb2.TAKEN_OVER), ("accepted", 2)] == said(outcomes)
    assert 2 == desk.holder()


def test_R5_an_incumbent_that_does_not_close_is_fenced_after_the_window(desk: Desk) -> None:
    desk.connect(1, priority=1)
    desk.connect(2, priority=0)
    assert [] == desk.pass_time(WINDOW_S - 0.001)
    assert [
        ("close", 1, bus_pb2.TAKEN_OVER),
        ("ended", 1, bus_pb2.TAKEN_OVER),
        ("accepted", 2),
    ] == said(desk.pass_time(0.002))


RESPONSES = {
    Reason.ALREADY_CONNECTED: "ALREADY",
    Reason.HIGHER_PRIORITY_ALREADY_CONNECTED: "HIGHER",
}


@pytest.mark.parametrize(
    ("priorities", "expected"),
    [
        ((0, 0, 0), "OK ALREADY ALREADY"),
        ((0, 0, 1), "OK ALREADY HIGHER"),
        ((1, 1, 0), "OK ALREADY OK"),
        ((1, 2, 1), "OK HIGHER ALREADY"),
        ((1, 0, 1), "OK OK HIGHER"),
        ((1, 2, 2), "OK HIGHER HIGHER"),
        ((1, 2, 0), "OK HIGHER OK"),
        ((2, 1, 0), "OK OK OK"),
        ((2, 1, 1), "OK OK ALREADY"),
    ],
)
def test_I7_priority_sequences(desk: Desk, priorities: tuple[int, int, int], expected: str) -> None:
    responses = []
    for instance, priority in enumerate(priorities, start=1):
        outcomes = desk.connect(instance, priority)
        incumbent = desk.holder()
        if incumbent not in {None, instance}:
            outcomes += desk.probed(incumbent, is_alive=True)
        if any(word[0] == "close" for word in said(outcomes)):
            outcomes += desk.end(incumbent, bus_pb2.TAKEN_OVER)
        responses += [
            RESPONSES[outcome.reason] if isinstance(outcome, Refused) else "OK"
            for outcome in outcomes
            if isinstance(outcome, Accepted | Refused)
        ]
    assert expected == " ".join(responses)


def test_I8_an_unsupported_newcomer_disturbs_nobody(desk: Desk) -> None:
    desk.connect(1, priority=5)
    refused = desk.registry.refuse(
        Connection(SERVER, 2), device(priority=0), Reason.DEVICE_NOT_SUPPORTED
    )
    assert [("refused", 2, Reason.DEVICE_NOT_SUPPORTED)] == said(refused)
    assert 1 == desk.holder()
    assert [] == desk.pass_time(10 * WINDOW_S)


def test_I9_a_dead_incumbent_does_not_block_an_equal_newcomer(desk: Desk) -> None:
    desk.connect(1)
    desk.connect(2)
    assert [("close", 1, bus_pb2.LOST), ("ended", 1, bus_pb2.LOST), ("accepted", 2)] == said(
        desk.probed(1, is_alive=False)
    )
    assert 2 == desk.holder()


def test_R5_silence_is_no_proof_of_life(desk: Desk) -> None:
    desk.connect(1)
    desk.connect(2)
    assert [] == desk.pass_time(WINDOW_S - 0.001)
    assert [("close", 1, bus_pb2.LOST), ("ended", 1, bus_pb2.LOST), ("accepted", 2)] == said(
        desk.pass_time(0.002)
    )


def test_a_proof_that_comes_too_late_changes_nothing(desk: Desk) -> None:
    desk.connect(1)
    desk.connect(2)
    desk.pass_time(WINDOW_S)
    assert [] == desk.probed(1, is_alive=True)
    assert [] == desk.probed(2, is_alive=False)
    assert 2 == desk.holder()


def test_the_end_of_the_incumbent_admits_the_newcomer_at_once(desk: Desk) -> None:
    desk.connect(1)
    desk.connect(2)
    assert [("ended", 1, bus_pb2.CLOSED_BY_PEER), ("accepted", 2)] == said(desk.end(1))


def test_newcomers_are_judged_in_the_order_of_their_requests(desk: Desk) -> None:
    desk.connect(1)
    assert [("probe", 1)] == said(desk.connect(2))
    assert [] == desk.connect(3)
    outcomes = said(desk.probed(1, is_alive=False))
    assert ("accepted", 2) in outcomes
    assert ("probe", 2) == outcomes[-1]
    assert [("refused", 3, Reason.ALREADY_CONNECTED)] == said(desk.probed(2, is_alive=True))


def test_one_proof_refuses_everybody_who_asked_before_it(desk: Desk) -> None:
    desk.connect(1, priority=1)
    desk.connect(2, priority=1)
    desk.connect(3, priority=2)
    desk.connect(4, priority=0)
    assert [
        ("refused", 2, Reason.ALREADY_CONNECTED),
        ("refused", 3, Reason.HIGHER_PRIORITY_ALREADY_CONNECTED),
        ("close", 1, bus_pb2.TAKEN_OVER),
    ] == said(desk.probed(1, is_alive=True))


def test_a_newcomer_that_gives_up_leaves_the_incumbent_alone(desk: Desk) -> None:
    desk.connect(1)
    desk.connect(2)
    assert [] == desk.end(2, bus_pb2.REPLY_TIMEOUT)
    assert [] == desk.pass_time(10 * WINDOW_S)
    assert 1 == desk.holder()


def test_a_newcomer_that_gives_up_makes_way_for_the_next(desk: Desk) -> None:
    desk.connect(1)
    desk.connect(2)
    desk.connect(3)
    assert [("probe", 1)] == said(desk.end(2, bus_pb2.REPLY_TIMEOUT))
    assert [("refused", 3, Reason.ALREADY_CONNECTED)] == said(desk.probed(1, is_alive=True))


def test_waiting_newcomers_are_bounded_without_a_verdict(desk: Desk) -> None:
    desk.connect(1)
    for instance in range(2, 2 + MAX_WAITING):
        desk.connect(instance)
    (outcome,) = desk.connect(99)
    assert isinstance(outcome, CloseWanted)
    assert (Connection(SERVER, 99), Reason.QUEUE_FULL) == (outcome.connection, outcome.reason)


def test_a_repeated_request_changes_nothing(desk: Desk) -> None:
    desk.connect(1)
    assert [] == desk.connect(1)
    desk.connect(2)
    assert [] == desk.connect(2)
    assert [("refused", 2, Reason.ALREADY_CONNECTED)] == said(desk.probed(1, is_alive=True))


def test_identities_do_not_disturb_each_other(desk: Desk) -> None:
    desk.connect(1, role="a")
    assert [("accepted", 2)] == said(desk.connect(2, role="b"))
    assert [("accepted", 3)] == said(desk.connect(3, role="c", server=OTHER))


def test_an_ended_identity_leaves_nothing_behind(desk: Desk) -> None:
    desk.connect(1)
    desk.end(1)
    assert [] == list(desk.registry.identities())
    assert desk.registry.next_due() is None


def test_a_fenced_seat_stays_known_until_its_server_says_that_it_ended(desk: Desk) -> None:
    desk.connect(1)
    seat = desk.registry.seat(SERVER, 1)
    assert seat is not None
    fenced = desk.registry.fence(seat, bus_pb2.SEQUENCE_GAP, desk.now)
    assert [("ended", 1, bus_pb2.SEQUENCE_GAP)] == said(fenced)
    assert [] == desk.registry.fence(seat, bus_pb2.SEQUENCE_GAP, desk.now)
    assert Standing.OVER is seat.standing
    assert seat is desk.registry.seat(SERVER, 1)
    assert [] == desk.end(1)
    assert desk.registry.seat(SERVER, 1) is None


def test_a_seat_counts_until_its_server_has_said_its_end(desk: Desk) -> None:
    desk.connect(1)
    desk.connect(2)
    desk.probed(1, is_alive=True)
    assert 2 == desk.registry.seats
    desk.end(2, bus_pb2.REFUSED)
    assert 1 == desk.registry.seats
    desk.end(1)
    assert 0 == desk.registry.seats


# Servers


def test_R6_a_different_digest_asks_for_the_list(desk: Desk) -> None:
    desk.connect(1)
    digest = RunningDigest()
    digest.add(1)
    assert [] == desk.registry.compare_digest(SERVER, digest.count, digest.value)
    digest.add(2)
    assert [("list", SERVER)] == said(
        desk.registry.compare_digest(SERVER, digest.count, digest.value)
    )


def test_R6_the_list_wins(desk: Desk) -> None:
    desk.connect(1, role="a")
    desk.connect(2, role="b")
    outcomes = desk.list((2, device("b"), 4), (3, device("c"), 7))
    assert [("adopted", 3), ("ended", 1, bus_pb2.LOST)] == said(outcomes)
    adopted = desk.registry.seat(SERVER, 3)
    assert adopted is not None
    assert 7 == adopted.last_sequence
    assert (None, 2, 3) == (desk.holder("a"), desk.holder("b"), desk.holder("c"))


def test_a_list_in_parts_is_one_list(desk: Desk) -> None:
    desk.connect(1, role="a")
    desk.connect(2, role="b")
    first = [Listed(1, device("a"), 0, is_decided=True)]
    second = [Listed(2, device("b"), 0, is_decided=True)]
    registry, now = desk.registry, desk.now
    assert [] == registry.reconcile(SERVER, first, is_first=True, is_last=False, now=now)
    assert [] == registry.reconcile(SERVER, second, is_first=False, is_last=True, now=now)


def test_a_list_whose_beginning_was_lost_is_asked_for_again(desk: Desk) -> None:
    desk.connect(1)
    outcomes = desk.registry.reconcile(SERVER, [], is_first=False, is_last=True, now=desk.now)
    assert [("list", SERVER)] == said(outcomes)
    assert 1 == desk.holder()


def test_an_undecided_unknown_connection_is_not_adopted(desk: Desk) -> None:
    assert [] == desk.list((1, device(), 0), is_decided=False)
    assert desk.holder() is None


def test_a_listed_connection_does_not_push_out_the_holder(desk: Desk) -> None:
    desk.connect(1)
    outcomes = desk.list((5, device(), 3), server=OTHER)
    assert [("close", 5, bus_pb2.TAKEN_OVER)] == said(outcomes)
    assert 1 == desk.holder()


def test_an_ended_connection_that_is_still_listed_is_closed_again(desk: Desk) -> None:
    desk.connect(1)
    seat = desk.registry.seat(SERVER, 1)
    assert seat is not None
    desk.registry.fence(seat, bus_pb2.SEQUENCE_GAP, desk.now)
    assert [("close", 1, bus_pb2.SEQUENCE_GAP)] == said(desk.list((1, device(), 3)))


def test_R6_a_silent_server_is_freed_after_twice_the_silence(desk: Desk) -> None:
    desk.connect(1)
    desk.registry.server_lost(SERVER, desk.now)  # T has passed already
    assert [] == desk.pass_time(LOST_S - 0.001)
    assert 1 == desk.holder()
    assert [("ended", 1, bus_pb2.LOST)] == said(desk.pass_time(0.002))
    assert [] == list(desk.registry.servers())


def test_a_server_that_is_heard_again_in_time_keeps_its_devices(desk: Desk) -> None:
    desk.connect(1)
    desk.registry.server_lost(SERVER, desk.now)
    desk.pass_time(LOST_S / 2)
    assert [("list", SERVER)] == said(desk.registry.server_up(SERVER))
    assert [] == desk.pass_time(10 * LOST_S)
    assert 1 == desk.holder()


def test_a_restored_holder_is_confirmed_by_its_servers_list(desk: Desk) -> None:
    seat = Seat(Connection(SERVER, 1), device(), Standing.HOLDER, last_sequence=4)
    desk.registry.restore([seat], free_at=desk.now + 30)
    assert not seat.is_confirmed
    assert [("adopted", 1)] == said(desk.list((1, device(), 5)))
    assert (True, 5) == (seat.is_confirmed, seat.last_sequence)
    assert [] == desk.list((1, device(), 9))
    assert 5 == seat.last_sequence  # a gap must not be hidden by a later list


def test_a_restored_holder_whose_server_is_gone_yields_to_a_newcomer(desk: Desk) -> None:
    seat = Seat(Connection(SERVER, 1), device(), Standing.HOLDER)
    desk.registry.restore([seat], free_at=desk.now + 30)
    assert [("probe", 1)] == said(desk.connect(2, server=OTHER))
    assert ("accepted", 2) in said(desk.pass_time(WINDOW_S))


def test_a_restored_holder_is_given_up_when_nobody_speaks_of_it(desk: Desk) -> None:
    seat = Seat(Connection(SERVER, 1), device(), Standing.HOLDER)
    desk.registry.restore([seat], free_at=desk.now + 30)
    assert [] == desk.pass_time(29.9)
    assert [("ended", 1, bus_pb2.LOST)] == said(desk.pass_time(0.2))
