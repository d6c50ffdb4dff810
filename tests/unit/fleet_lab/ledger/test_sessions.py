"""Which published statuses count as applied, session by session."""

from __future__ import annotations

from fleet_lab.ledger import sessions as sessions_module
from fleet_lab.ledger.events import Accepted, Acknowledged, Opened, Upstream
from fleet_lab.ledger.sessions import Applied, Settled, Unconfirmed, VehicleSessions
from module_gateway.protocol.external import Position
from module_gateway.protocol.identity import Identity

WHO = Identity(3, 0, "r")
V = "c/v"


def status(counter: int, session: str = "s1", sequence: int = 0) -> Upstream:
    position = Position(9, sequence) if sequence else None
    return Upstream(V, session, counter, WHO, counter, 1, 0.0, None, position)


def ack(counter: int, session: str = "s1", at_s: float = 1.0) -> Acknowledged:
    return Acknowledged(V, session, counter, at_s)


def opened(session: str = "s1") -> Opened:
    return Opened(V, session, 0.0)


def play(*events: object, sessions: VehicleSessions | None = None) -> list[Settled]:
    vehicle = sessions or VehicleSessions()
    return [settled for event in events for settled in vehicle.step(event)]


def numbers(settled: list[Settled]) -> list[tuple[type, int]]:
    return [(type(each), each.upstream.counter) for each in settled]


def test_a_status_is_applied_when_it_is_acknowledged():
    settled = play(opened(), status(1), ack(1, at_s=4.0))
    assert settled == [Applied(status(1), 4.0, is_peer_exact=False)]
    assert play(opened(), status(1)) == []


def test_acknowledgements_in_any_order_apply_in_the_order_of_counters():
    settled = play(opened(), status(1), status(2), status(3), ack(2), ack(1), ack(3))
    assert numbers(settled) == [(Applied, 1), (Applied, 2), (Applied, 3)]


def test_counters_that_arrive_out_of_order_are_put_into_it():
    settled = play(opened(), status(2), status(1), ack(2), ack(1))
    assert numbers(settled) == [(Applied, 1), (Applied, 2)]


def test_a_repetition_by_the_broker_is_counted_and_nothing_else():
    vehicle = VehicleSessions()
    settled = play(opened(), status(1), status(1), ack(1), status(1), ack(1), sessions=vehicle)
    assert numbers(settled) == [(Applied, 1)]
    assert (vehicle.redelivered, vehicle.stray) == (2, 1)


def test_what_a_session_leaves_is_unconfirmed_once_the_next_one_is_accepted():
    left = [opened(), status(1), status(2), status(3), ack(2), opened("s2")]
    assert play(*left) == []
    settled = play(*left, Accepted(V, "s2", 0.0))
    assert numbers(settled) == [(Unconfirmed, 1), (Applied, 2), (Unconfirmed, 3)]


def test_the_next_session_may_say_what_was_applied_after_all():
    settled = play(
        opened(), status(1, sequence=11), status(2, sequence=12), opened("s2"),
        Accepted(V, "s2", 0.0, {WHO: Position(9, 11)}),
    )  # fmt: skip
    assert settled == [
        Applied(status(1, sequence=11), None, is_peer_exact=True),
        Unconfirmed(status(2, sequence=12)),
    ]


def test_another_store_says_nothing_about_this_one():
    accepted = Accepted(V, "s2", 0.0, {WHO: Position(8, 99)})
    settled = play(opened(), status(1, sequence=11), opened("s2"), accepted)
    assert numbers(settled) == [(Unconfirmed, 1)]


def test_without_an_answer_the_next_status_or_session_settles_it():
    for after in (status(1, "s2"), opened("s3")):
        settled = play(opened(), status(1), opened("s2"), after)
        assert numbers(settled) == [(Unconfirmed, 1)]


def test_a_tap_that_comes_late_joins_the_session():
    assert numbers(play(status(5), ack(5))) == [(Applied, 5)]


def test_other_sessions_and_unknown_counters_are_strays():
    vehicle = VehicleSessions()
    events = (opened(), status(1, "old"), ack(7), ack(1, "old"), Accepted(V, "old", 0.0))
    assert play(*events, sessions=vehicle) == []
    assert vehicle.stray == 3


def test_a_repeated_connect_changes_nothing():
    assert numbers(play(opened(), status(1), opened(), ack(1))) == [(Applied, 1)]


def test_at_the_end_everything_is_settled():
    vehicle = VehicleSessions()
    play(opened(), status(1), status(2), ack(2), sessions=vehicle)
    assert numbers(vehicle.flush()) == [(Unconfirmed, 1), (Applied, 2)]
    assert vehicle.flush() == []


def test_what_is_pending_is_bounded(monkeypatch):
    monkeypatch.setattr(sessions_module, "MAX_PENDING", 2)
    settled = play(opened(), status(1), status(2), status(3))
    assert numbers(settled) == [(Unconfirmed, 1)]
