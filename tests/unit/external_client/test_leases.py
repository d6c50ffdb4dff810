"""Leases, snapshots, deliveries and receipts (contract R8, R17)."""

from __future__ import annotations

import pytest

from module_gateway.external_client.effects import Count, Superseded, Tell
from module_gateway.external_client.entries import Acknowledgement, Entry, Lane, Receipt
from module_gateway.external_client.leases import RETRY_S, START_S, Granted, Leases, Registered
from module_gateway.external_client.rules import Verdict
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import Position
from module_gateway.protocol.identity import Device
from tests.unit.external_client.world import EPOCH, MODULE, OTHER_MODULE, Handler, device

A = device("a")


@pytest.fixture
def leases() -> Leases:
    leases = Leases(0, EPOCH, (MODULE,))
    leases.handler_up(1, Handler().presence(), 0.0)
    return leases


def grant(leases: Leases, peer: int = 1, store: int = 11) -> None:
    message = bus_pb2.Message()
    message.lease_granted.epoch, message.lease_granted.store_id = EPOCH, store
    assert [Granted(peer, store)] == leases.receive(peer, message, 0.0)


def delivery(number: int, **fields: object) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.delivery.CopyFrom(bus_pb2.Delivery(delivery=number, epoch=EPOCH, **fields))  # type: ignore[arg-type]
    A.write_to(message.delivery.device)
    return message


def kinds(tells: list[Tell]) -> list[str | None]:
    return [each.message.WhichOneof("body") for each in tells]


def test_lease_is_asked_of_handlers_that_own_a_module_of_the_endpoint() -> None:
    leases = Leases(3, EPOCH, (MODULE, 5))
    assert [] == leases.handler_up(1, Handler(modules=(OTHER_MODULE,)).presence(), 0.0)
    asked = leases.handler_up(2, Handler(modules=(MODULE,)).presence(), 0.0)
    lease = asked[0].message.lease
    assert (2, 3, EPOCH, [5, MODULE]) == (
        asked[0].peer,
        lease.endpoint,
        lease.epoch,
        list(lease.modules),
    )
    assert [] == leases.handler_up(2, Handler(modules=(MODULE,)).presence(), 0.0)


def test_unanswered_lease_is_repeated(leases: Leases) -> None:
    assert [] == leases.tick(RETRY_S - 0.1)
    assert ["lease"] == kinds(leases.tick(RETRY_S))
    grant(leases)
    assert leases.next_retry() is None
    assert [] == leases.tick(100.0)


def test_handler_that_serves_nothing_of_ours_any_more_is_forgotten(leases: Leases) -> None:
    assert [] == leases.handler_up(1, Handler(modules=(OTHER_MODULE,)).presence(), 1.0)
    assert [] == leases.peers
    assert not leases.handler_lost(1)


def test_newer_handler_owns_what_both_claim(leases: Leases) -> None:
    assert 1 == leases.owner(A.identity)
    leases.handler_up(2, Handler().presence(), 0.0)
    assert 2 == leases.owner(A.identity)
    assert leases.handler_lost(2)
    assert 1 == leases.owner(A.identity)


def test_partition_decides_the_owner() -> None:
    leases = Leases(0, EPOCH, (MODULE,))
    bit = 1 << A.identity.partition
    for peer, partitions in ((1, bit), (2, (2**64 - 1) ^ bit)):
        presence = bus_pb2.Presence()
        presence.served.add(module=MODULE, partitions=partitions)
        leases.handler_up(peer, presence, 0.0)
    assert 1 == leases.owner(A.identity)


def test_delivery_becomes_an_entry(leases: Leases) -> None:
    grant(leases)
    events = leases.receive(1, delivery(1, sequence=5, status=b"s", error=b"", first_sequence=2), 0)
    assert isinstance(events[0], Entry)
    entry = events[0]
    assert (A, b"s", 5, 11, b"", 2) == (
        entry.device,
        entry.status,
        entry.sequence,
        entry.store_id,
        entry.error,
        entry.first_sequence,
    )
    assert Receipt(1, 1, 1) == entry.receipt


def test_gap_makes_it_lease_again_and_ignore_the_rest(leases: Leases) -> None:
    grant(leases)
    events = leases.receive(1, delivery(2), 0.0)
    assert Count(Reason.SEQUENCE_GAP) == events[0]
    assert isinstance(events[1], Tell)
    assert [Count(Reason.STALE_LEASE)] == leases.receive(1, delivery(3), 0.0)


def test_receipts_name_the_contiguous_front_once(leases: Leases) -> None:
    grant(leases)
    assert [] == leases.release([Receipt(1, 1, 2)])
    told = leases.release([Receipt(1, 1, 1), Receipt(9, 1, 1)])
    assert [2] == [each.message.delivery_receipt.delivery for each in told]
    assert [] == leases.release([])


def test_R18_lanes_are_numbered_and_receipted_apart(leases: Leases) -> None:
    grant(leases)
    for lane in (bus_pb2.LIVE, bus_pb2.REPLAYED):
        events = leases.receive(1, delivery(1, sequence=5, lane=lane), 0.0)
        assert isinstance(events[0], Entry)
        assert (lane, Receipt(1, 1, 1, Lane(lane))) == (
            events[0].lane,
            events[0].receipt,
        )
    told = leases.release([Receipt(1, 1, 1, Lane.LIVE), Receipt(1, 1, 2, Lane.REPLAYED)])
    assert [(bus_pb2.LIVE, 1)] == [
        (each.message.delivery_receipt.lane, each.message.delivery_receipt.delivery)
        for each in told
    ]


@pytest.mark.parametrize("lane", [bus_pb2.FOLDED, bus_pb2.REPLAYED, bus_pb2.LIVE])
def test_R18_gap_in_any_lane_makes_it_lease_again(leases: Leases, lane: bus_pb2.Lane) -> None:
    grant(leases)
    for each in (bus_pb2.FOLDED, bus_pb2.REPLAYED, bus_pb2.LIVE):
        leases.receive(1, delivery(1, lane=each), 0.0)
    events = leases.receive(1, delivery(3, lane=lane), 0.0)
    assert Count(Reason.SEQUENCE_GAP) == events[0]
    assert isinstance(events[1], Tell)
    grant(leases)
    assert isinstance(leases.receive(1, delivery(1, lane=lane), 0.0)[0], Entry)


def test_R18_phase_says_whether_live_entries_go_their_own_way(leases: Leases) -> None:
    grant(leases)
    told = leases.tell_phase(3, is_exposed=True, splits_live=True)
    told += leases.tell_phase(3, is_exposed=True)
    assert [True, False] == [each.message.session_phase.splits_live for each in told]


def acknowledged(leases: Leases, *stretches: tuple[Device, int, int]) -> list[tuple[int, int]]:
    (told,) = leases.acknowledge(
        Acknowledgement(who.identity, Position(11, last), first) for who, last, first in stretches
    )
    ack = told.message.outbox_ack
    assert (0, EPOCH) == (ack.endpoint, ack.epoch)
    return [(each.first_sequence, each.sequence) for each in ack.acknowledged]


def test_R18_acknowledgement_may_name_a_stretch(leases: Leases) -> None:
    grant(leases)
    assert [(7, 9), (0, 9)] == acknowledged(leases, (A, 9, 7), (A, 9, 0))


def test_acknowledgements_of_one_moment_are_one_message(leases: Leases) -> None:
    grant(leases)
    assert [(0, 12), (7, 20), (0, 10)] == acknowledged(
        leases, (A, 9, 0), (A, 12, 0), (A, 20, 7), (A, 18, 7), (device("b"), 10, 0), (A, 11, 0)
    )


def test_R4_entries_of_another_store_are_not_acknowledged_to_their_owner(leases: Leases) -> None:
    of_another_store = [Acknowledgement(A.identity, Position(11, 9))]
    assert [] == leases.acknowledge(of_another_store)
    grant(leases, store=12)
    assert [] == leases.acknowledge(of_another_store)
    own = [Acknowledgement(A.identity, Position(12, 9))]
    assert ["outbox_ack"] == kinds(leases.acknowledge(own))


def test_receipt_of_an_earlier_lease_counts_for_nothing(leases: Leases) -> None:
    grant(leases)
    grant(leases)
    assert [] == leases.release([Receipt(1, 1, 1)])


def test_snapshot_in_parts_is_told_when_it_is_complete(leases: Leases) -> None:
    grant(leases)
    for is_first, is_last, role in ((True, False, "a"), (False, True, "b")):
        message = bus_pb2.Message()
        snapshot = message.snapshot
        snapshot.epoch, snapshot.request = EPOCH, 4
        snapshot.is_first, snapshot.is_last = is_first, is_last
        device(role).write_to(snapshot.registered.add(status=b"s").device)
        events = leases.receive(1, message, 0.0)
    assert [Registered(1, ((A, b"s"), (device("b"), b"s")), 4)] == events


@pytest.mark.parametrize(("epoch", "endpoint"), [(EPOCH - 1, 0), (EPOCH + 1, 0), (EPOCH, 1)])
def test_other_epochs_and_endpoints_are_ignored(leases: Leases, epoch: int, endpoint: int) -> None:
    message = bus_pb2.Message()
    message.command_verdict.epoch, message.command_verdict.endpoint = epoch, endpoint
    assert [Count(Reason.STALE_LEASE)] == leases.receive(1, message, 0.0)


def test_verdict_is_passed_on(leases: Leases) -> None:
    message = bus_pb2.Message()
    message.command_verdict.CopyFrom(
        bus_pb2.CommandVerdict(epoch=EPOCH, session=4, counter=5, response=3)
    )
    assert [Verdict(4, 5, 3)] == leases.receive(1, message, 0.0)


def test_end_of_the_lease_supersedes(leases: Leases) -> None:
    message = bus_pb2.Message()
    message.lease_ended.epoch, message.lease_ended.reason = EPOCH, "newer"
    assert [Superseded("newer")] == leases.receive(1, message, 0.0)
    message.lease_ended.epoch = EPOCH - 1
    assert [Count(Reason.STALE_LEASE)] == leases.receive(1, message, 0.0)


def refusal(current: int, epoch: int = EPOCH, endpoint: int = 0) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.lease_ended.CopyFrom(
        bus_pb2.LeaseEnded(endpoint=endpoint, epoch=epoch, reason="newer", current_epoch=current)
    )
    return message


def asked(tells: list[Tell]) -> list[tuple[int, int]]:
    return [(each.peer, each.message.lease.epoch) for each in tells]


def test_R17_a_new_client_that_is_refused_asks_above_the_told_epoch_once(leases: Leases) -> None:
    assert [Count(Reason.STALE_LEASE)] == leases.receive(1, refusal(EPOCH + 900), 0.1)
    due = leases.next_retry()
    assert due is not None
    while due < 0.1 + RETRY_S:  # the first Lease is repeated meanwhile
        assert [(1, EPOCH)] == asked(leases.tick(due))
        leases.receive(1, refusal(EPOCH + 900), due)
        due = leases.next_retry() or 0.0
    assert [(1, EPOCH + 901)] == asked(leases.tick(due))
    late = refusal(EPOCH + 900)
    assert [Count(Reason.STALE_LEASE)] == leases.receive(1, late, due)
    again = refusal(EPOCH + 950, EPOCH + 901)
    assert [Superseded("newer")] == leases.receive(1, again, due)


def test_R17_a_new_client_rises_above_what_any_of_its_handlers_told(leases: Leases) -> None:
    leases.handler_up(2, Handler().presence(), 0.0)
    leases.handler_up(3, Handler().presence(), 0.0)
    grant(leases, 3)
    leases.receive(1, refusal(EPOCH + 9), 0.0)
    leases.receive(2, refusal(EPOCH + 90), 0.0)
    assert [(each, EPOCH + 91) for each in (1, 2, 3)] == asked(leases.tick(RETRY_S))
    message = bus_pb2.Message()
    message.lease_granted.epoch = EPOCH + 91
    for peer in (1, 2, 3):
        assert [Granted(peer)] == leases.receive(peer, message, RETRY_S)
    assert leases.next_retry() is None
    assert [] == leases.tick(100.0)


def test_R17_a_client_that_runs_exits_when_it_is_superseded(leases: Leases) -> None:
    grant(leases)
    assert [Superseded("newer")] == leases.receive(1, refusal(EPOCH + 1), 0.1)


def test_R17_a_client_that_has_run_for_a_while_exits_whoever_refuses_it(leases: Leases) -> None:
    grant(leases)
    leases.handler_up(2, Handler().presence(), START_S)
    assert [Superseded("newer")] == leases.receive(2, refusal(EPOCH + 1), START_S)


def test_R17_a_refusal_of_another_endpoint_or_of_no_later_epoch_raises_nothing(
    leases: Leases,
) -> None:
    other = refusal(EPOCH + 9, endpoint=1)
    assert [Count(Reason.STALE_LEASE)] == leases.receive(1, other, 0.0)
    assert [(1, EPOCH)] == asked(leases.tick(RETRY_S))
    assert [Superseded("newer")] == leases.receive(1, refusal(EPOCH), RETRY_S)


def test_message_of_a_stranger_or_of_another_kind_is_ignored(leases: Leases) -> None:
    grant(leases)
    assert [Count(Reason.STALE_LEASE)] == leases.receive(9, delivery(1), 0.0)
    message = bus_pb2.Message()
    message.probe.instance = 1
    assert [Count(Reason.STALE_LEASE)] == leases.receive(1, message, 0.0)
    assert [Count(Reason.STALE_LEASE)] == leases.receive(1, bus_pb2.Message(), 0.0)


def test_nothing_is_sent_for_a_device_that_nobody_owns(leases: Leases) -> None:
    other = device("a", module=OTHER_MODULE)
    grant(leases)
    assert [] == leases.acknowledge([Acknowledgement(other.identity, Position(11, 1))])
    assert [] == leases.forward(1, 1, other, b"x")
    assert ["outbox_ack"] == kinds(
        leases.acknowledge([Acknowledgement(A.identity, Position(11, 1))])
    )
    assert ["command_forward"] == kinds(leases.forward(1, 1, A, b"x"))


def test_a_lease_names_the_stores_of_which_something_came(leases: Leases) -> None:
    grant(leases, store=11)
    assert [[]] == [list(each.message.lease.held_stores) for each in leases.resync(0.0)]
    grant(leases, store=11)
    leases.receive(1, delivery(1, sequence=1), 0.0)
    assert [[11]] == [list(each.message.lease.held_stores) for each in leases.resync(0.0)]


@pytest.mark.parametrize(("fields", "indivisible"), [({}, None), ({"indivisible": 0}, 0)])
def test_a_fold_says_how_far_it_is_indivisible(
    leases: Leases, fields: dict[str, object], indivisible: int | None
) -> None:
    grant(leases)
    (entry,) = leases.receive(1, delivery(1, sequence=5, error=b"e", **fields), 0.0)
    assert isinstance(entry, Entry)
    assert indivisible == entry.indivisible


def test_R18_a_snapshot_says_who_is_behind(leases: Leases) -> None:
    grant(leases)
    message = bus_pb2.Message()
    message.snapshot.epoch, message.snapshot.request = EPOCH, 4
    message.snapshot.is_first = message.snapshot.is_last = True
    for who, is_behind in ((A, True), (device("b"), False)):
        line = message.snapshot.registered.add(is_behind=is_behind)
        who.write_to(line.device)
    (registered,) = leases.receive(1, message, 0.0)
    assert isinstance(registered, Registered)
    assert frozenset({A.identity}) == registered.behind
