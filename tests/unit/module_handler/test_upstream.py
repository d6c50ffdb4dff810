"""Leases, deliveries and what they carry (contract R8, R9, R12, R17)."""

from __future__ import annotations

import pytest

from module_gateway.bus.address import Address
from module_gateway.module_handler.core import Heard, LinkBroken, MessagesMissed, PeerLost, PeerUp
from module_gateway.module_handler.store import EntriesTrimmed, StreamQuery
from module_gateway.module_handler.turn import Turn
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from tests.unit.module_handler.rig import (
    CLIENT,
    EPOCH,
    EXPOSED,
    MODULE,
    OFFLINE,
    SERVER,
    Rig,
    bodies,
    device,
    ended,
    forward,
    kinds,
    lease,
    limits,
    outbox_ack,
    phase,
    published,
    receipt,
    snapshot_request,
    status,
)

A, B = device("a"), device("b")
SUCCESSOR = Address(bus_pb2.EXTERNAL_CLIENT, 22)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_lease_gets_grant_snapshot_and_everything_unacknowledged(rig: Rig) -> None:
    rig.registered(A)
    rig.registered(B, instance=2)
    rig.hear(ended(2))
    turn = rig.hear(lease(), sender=CLIENT)
    assert ["lease_granted", "snapshot", "delivery", "delivery", "delivery"] == kinds(turn)
    (granted,) = bodies(turn, "lease_granted")
    assert (EPOCH, rig.store.store_id) == (granted.epoch, granted.store_id)
    (snapshot,) = bodies(turn, "snapshot")
    assert (0, ["a"], True, True) == (
        snapshot.request,
        [line.device.deviceRole for line in snapshot.registered],
        snapshot.is_first,
        snapshot.is_last,
    )
    deliveries = bodies(turn, "delivery")
    assert [1, 2, 3] == [each.delivery for each in deliveries]
    assert [1, 2, 3] == [each.sequence for each in deliveries]


def test_R12_an_entry_says_whether_it_ends_the_registration_and_repeats(rig: Rig) -> None:
    rig.leased()
    rig.connected(A)
    turns = [rig.hear(status(1, 1, b"s1")), rig.hear(ended(1))]
    deliveries = [bodies(turn, "delivery")[0] for turn in turns]
    assert [(False, False), (True, True)] == [
        (each.ends_registration, each.is_repeat) for each in deliveries
    ]
    assert [A.name, A.name] == [each.device.deviceName for each in deliveries]
    assert 0 < deliveries[0].time_unix_ms


def test_a_new_status_is_delivered_with_its_commit(rig: Rig) -> None:
    rig.leased()
    rig.connected(A)
    turn = rig.hear(status(1, 1, b"s1"))
    assert ["status_reply", "delivery"] == kinds(turn)


def test_what_is_acknowledged_is_not_delivered_again(rig: Rig) -> None:
    rig.registered(A)
    rig.hear(status(1, 2, b"s2"))
    rig.leased()
    rig.hear(outbox_ack(A, 1), sender=CLIENT)
    assert [b"s1,s2"] == [each.status for each in rig.leased()]
    rig.restart()
    assert [b"s1,s2"] == [each.status for each in rig.leased()]


def test_unacknowledged_entries_survive_a_restart_in_order(rig: Rig) -> None:
    rig.registered(A)
    rig.registered(B, instance=2)
    rig.hear(status(1, 2, b"s2"))
    rig.restart()
    assert [1, 2, 3] == [each.sequence for each in rig.leased()]


def test_flow_control_holds_entries_back_until_a_receipt() -> None:
    rig = Rig(limits(window=2))
    rig.registered(A)
    for sequence in range(2, 6):
        rig.hear(status(1, sequence, b"s"))
    assert [1, 2] == [each.delivery for each in rig.leased()]
    turn = rig.hear(receipt(1), sender=CLIENT)
    assert [3] == [each.delivery for each in bodies(turn, "delivery")]


def test_R17_a_higher_epoch_supersedes_a_lower_one(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    turn = rig.hear(lease(EPOCH + 1), sender=SUCCESSOR)
    (told,) = bodies(turn, "lease_ended")
    assert (EPOCH, Reason.STALE_LEASE) == (told.epoch, told.reason)
    assert EPOCH + 1 == told.current_epoch
    assert [CLIENT] == [
        send.receiver for send in turn.sends if send.message.WhichOneof("body") == "lease_ended"
    ]
    assert 1 == len(bodies(turn, "lease_granted"))


@pytest.mark.parametrize(
    "message",
    [lease(), receipt(1), outbox_ack(A, 1), forward(A, b"go"), snapshot_request(1), phase(EXPOSED)],
    ids=["lease", "receipt", "ack", "command", "snapshot", "phase"],
)
def test_R17_nothing_of_a_superseded_client_counts(rig: Rig, message: bus_pb2.Message) -> None:
    rig.registered(A)
    rig.leased()
    rig.hear(lease(EPOCH + 1), sender=SUCCESSOR)
    turn = rig.hear(message, sender=CLIENT)
    assert ["lease_ended"] == kinds(turn)
    assert [] == turn.changes
    assert 1 == turn.counts[Reason.STALE_LEASE]
    assert [b"s1"] == published(rig.outbox(A))


def test_R17_the_newest_epoch_is_remembered_over_a_restart(rig: Rig) -> None:
    rig.leased()
    rig.hear(lease(EPOCH + 1), sender=SUCCESSOR)
    rig.restart()
    assert ["lease_ended"] == kinds(rig.hear(lease(), sender=CLIENT))


@pytest.mark.parametrize("is_restarted", [False, True])
def test_R17_a_refused_client_gets_the_lease_above_the_epoch_that_it_was_told(
    rig: Rig, is_restarted: bool
) -> None:
    rig.registered(A)
    rig.hear(lease(EPOCH), sender=CLIENT)
    if is_restarted:
        rig.restart()
    (told,) = bodies(rig.hear(lease(EPOCH - 50), sender=SUCCESSOR), "lease_ended")
    assert (EPOCH - 50, EPOCH) == (told.epoch, told.current_epoch)
    turn = rig.hear(lease(told.current_epoch + 1), sender=SUCCESSOR)
    assert [EPOCH + 1] == [each.epoch for each in bodies(turn, "lease_granted")]
    assert [b"s1"] == [each.status for each in bodies(turn, "delivery")]


def test_a_client_without_a_lease_is_ignored(rig: Rig) -> None:
    rig.registered(A)
    turn = rig.hear(outbox_ack(A, 1), sender=CLIENT)
    assert 1 == turn.counts[Reason.STALE_LEASE]
    assert [b"s1"] == published(rig.outbox(A))


def test_an_acknowledgement_of_another_endpoints_module_is_ignored(rig: Rig) -> None:
    rig.registered(A)
    message = lease(endpoint=5)
    message.lease.modules[:] = [MODULE + 1]
    rig.hear(message, sender=CLIENT)
    ack = outbox_ack(A, 1)
    ack.outbox_ack.endpoint = 5
    rig.hear(ack, sender=CLIENT)
    assert [b"s1"] == published(rig.outbox(A))


def fill(rig: Rig, first: int, count: int) -> None:
    for sequence in range(first, first + count):
        rig.hear(status(1, sequence, b"s"))


def test_M12_the_outbox_is_bounded_and_counts_what_it_folds() -> None:
    rig = Rig(limits(entries=8))
    rig.registered(A)
    turns = [rig.hear(status(1, sequence, b"s")) for sequence in range(2, 30)]
    assert len(rig.outbox(A)) <= 8
    assert rig.outbox(A)[0].error is not None
    assert 0 < sum(turn.counts[Reason.OUTBOX_COMPACTED] for turn in turns)


def test_R8_a_fold_says_which_entries_it_covers() -> None:
    rig = Rig(limits(entries=8))
    rig.registered(A)
    fill(rig, 2, 8)
    (fold, *_) = rig.leased()
    assert (1, 3, True) == (fold.first_sequence, fold.sequence, fold.HasField("error"))


def test_R8_what_a_live_session_was_given_is_not_folded() -> None:
    rig = Rig(limits(entries=8))
    rig.registered(A)
    rig.leased()
    rig.hear(phase(EXPOSED), sender=CLIENT)
    fill(rig, 2, 15)
    assert 16 == len(rig.outbox(A))
    assert {None} == {entry.error for entry in rig.outbox(A)}
    rig.hear(phase(OFFLINE), sender=CLIENT)
    fill(rig, 17, 1)
    assert len(rig.outbox(A)) <= 8


def test_R8_an_open_session_outlives_a_restart_of_the_handler() -> None:
    rig = Rig(limits(entries=8))
    rig.registered(A)
    rig.leased()
    rig.hear(phase(EXPOSED), sender=CLIENT)
    rig.restart()
    fill(rig, 2, 10)
    assert 11 == len(rig.outbox(A))


def test_R8_a_new_client_inherits_what_the_old_ones_session_may_have_shown() -> None:
    rig = Rig(limits(entries=8))
    rig.registered(A)
    fill(rig, 2, 7)
    rig.leased()
    rig.hear(phase(EXPOSED), sender=CLIENT)
    rig.hear(lease(EPOCH + 1), sender=SUCCESSOR)
    fill(rig, 9, 4)
    assert 12 == len(rig.outbox(A))


def test_R9_a_heartbeat_is_a_marker_and_never_stored(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.pass_time(2.0)
    turn = rig.pass_time(15.0)
    (marker,) = bodies(turn, "delivery")
    assert (0, True, 2 + 1) == (marker.sequence, marker.is_repeat, marker.delivery)
    assert [] == turn.changes


def test_a_marker_comes_after_the_entries_of_its_turn(rig: Rig) -> None:
    rig.registered(A, instance=1)
    rig.connected(B, instance=2)
    rig.leased()
    rig.pass_time(2.0)
    rig.now += 15.0
    turn = rig.hear(status(2, 1, b"t1"))
    assert [b"t1", b"s1"] == [each.status for each in bodies(turn, "delivery")]


def test_a_lost_client_is_given_nothing_and_told_by_a_gap_when_it_returns(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.decide(PeerLost(CLIENT))
    assert ["status_reply"] == kinds(rig.hear(status(1, 2, b"s2")))
    turn = rig.decide(PeerUp(CLIENT))
    assert [3, 4] == [each.delivery for each in bodies(turn, "delivery")]
    assert [] == kinds(rig.decide(PeerUp(CLIENT)))


def test_a_broken_link_shows_as_a_gap(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    turn = rig.decide(LinkBroken(()))
    assert [3] == [each.delivery for each in bodies(turn, "delivery")]


def test_a_broken_link_gives_a_lost_client_nothing(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.decide(PeerLost(CLIENT))
    assert [] == bodies(rig.decide(LinkBroken(())), "delivery")
    assert [3] == [each.delivery for each in bodies(rig.decide(PeerUp(CLIENT)), "delivery")]


def test_a_closed_window_whose_receipts_were_missed_opens_with_a_gap() -> None:
    rig = Rig(limits(window=2))
    rig.registered(A)
    rig.leased()
    fill(rig, 2, 3)
    turn = rig.decide(MessagesMissed())
    assert [4, 5] == [each.delivery for each in bodies(turn, "delivery")]


def test_a_large_snapshot_travels_in_parts(rig: Rig) -> None:
    for number in range(8):
        rig.registered(device(str(number)), instance=number + 1, payload=b"x" * 10_000)
    parts = bodies(rig.hear(lease(), sender=CLIENT), "snapshot")
    assert 1 < len(parts)
    assert [True] + [False] * (len(parts) - 1) == [part.is_first for part in parts]
    assert [False] * (len(parts) - 1) + [True] == [part.is_last for part in parts]
    assert 8 == sum(len(part.registered) for part in parts)


def test_an_empty_snapshot_is_one_part(rig: Rig) -> None:
    (part,) = bodies(rig.hear(lease(), sender=CLIENT), "snapshot")
    assert (True, True, 0) == (part.is_first, part.is_last, len(part.registered))


# Lanes and pages, R18


@pytest.fixture
def replaying() -> Rig:
    """Two statuses before a session that splits, one after it began."""
    rig = Rig(limits(is_replayed=True))
    rig.registered(A)
    rig.hear(status(1, 2, b"s2"))
    rig.leased()
    rig.hear(phase(EXPOSED, splits=True), sender=CLIENT)
    return rig


def lanes(turn: Turn) -> list[tuple[int, int, int]]:
    return [(each.lane, each.delivery, each.sequence) for each in bodies(turn, "delivery")]


def test_R18_a_live_status_overtakes_those_that_wait(replaying: Rig) -> None:
    assert [(bus_pb2.LIVE, 1, 3)] == lanes(replaying.hear(status(1, 3, b"s3")))


def test_R18_each_lane_has_its_own_window() -> None:
    rig = Rig(limits(window=1, is_replayed=True))
    rig.registered(A)
    fill(rig, 2, 2)
    rig.leased()
    rig.hear(phase(EXPOSED, splits=True), sender=CLIENT)
    assert [(bus_pb2.LIVE, 1, 4)] == lanes(rig.hear(status(1, 4, b"s4")))
    assert [] == lanes(rig.hear(status(1, 5, b"s5")))
    replayed = rig.hear(receipt(1, lane=bus_pb2.REPLAYED), sender=CLIENT)
    assert [(bus_pb2.REPLAYED, 2, 2)] == lanes(replayed)
    live = rig.hear(receipt(1, lane=bus_pb2.LIVE), sender=CLIENT)
    assert [(bus_pb2.LIVE, 2, 5)] == lanes(live)


def test_R18_live_entries_are_acknowledged_before_older_ones(replaying: Rig) -> None:
    replaying.hear(status(1, 3, b"s3"))
    turn = replaying.hear(outbox_ack(A, 3, first_sequence=3), sender=CLIENT)
    assert [EntriesTrimmed(A.identity, 3, 3)] == turn.changes
    assert [1, 2] == [entry.sequence for entry in replaying.outbox(A)]
    replaying.hear(outbox_ack(A, 2), sender=CLIENT)
    assert 0 == replaying.core.sizes()["outbox_entries"]


def test_R18_after_a_split_the_next_lease_delivers_what_is_left_in_one_order(
    replaying: Rig,
) -> None:
    replaying.hear(status(1, 3, b"s3"), status(1, 4, b"s4"))
    replaying.hear(outbox_ack(A, 3, first_sequence=3), sender=CLIENT)
    replaying.hear(phase(OFFLINE), sender=CLIENT)
    turn = replaying.hear(lease(), sender=CLIENT)
    replayed = bus_pb2.REPLAYED
    assert [(replayed, 1, 1), (replayed, 2, 2), (replayed, 3, 4)] == lanes(turn)


def test_R18_a_heartbeat_of_a_device_with_replay_is_a_marker_in_the_folded_lane(
    replaying: Rig,
) -> None:
    assert [(bus_pb2.FOLDED, 1, 0)] == lanes(replaying.pass_time(2.0))


def test_R18_a_fold_keeps_to_the_replayed_side_of_the_cut() -> None:
    rig = Rig(limits(entries=8, window=1, is_replayed=True))
    rig.registered(A)
    rig.leased()
    fill(rig, 2, 2)
    rig.hear(phase(EXPOSED, splits=True), sender=CLIENT)
    fill(rig, 4, 30)
    folds = [entry for entry in rig.outbox(A) if entry.error is not None]
    assert [3] == [fold.sequence for fold in folds]


@pytest.fixture
def crossed() -> Rig:
    """Live statuses 4 to 6, and a fold that reaches from before them to beyond their first.

    The bus broke in between: the client does not know yet that its session does not split any more.
    """
    rig = Rig(limits(entries=8, is_replayed=True))
    rig.registered(A)
    fill(rig, 2, 2)
    rig.leased()
    rig.hear(phase(EXPOSED, splits=True), sender=CLIENT)
    fill(rig, 4, 3)
    rig.decide(LinkBroken(()))
    fill(rig, 7, 11)
    fold = rig.outbox(A)[0]
    assert (1, 4) == (fold.first_sequence, min(fold.sequence, 4))
    return rig


@pytest.mark.parametrize("is_restarted", [False, True])
def test_R8_live_statuses_do_not_acknowledge_a_fold_with_older_ones(
    crossed: Rig, is_restarted: bool
) -> None:
    fold, *newer = crossed.outbox(A)
    if is_restarted:
        crossed.restart()
        crossed.leased()
    turn = crossed.hear(outbox_ack(A, fold.sequence + 1, first_sequence=4), sender=CLIENT)
    assert [EntriesTrimmed(A.identity, fold.sequence + 1, fold.sequence + 1)] == turn.changes
    assert [fold, *newer[1:]] == crossed.outbox(A)
    assert fold.sequence == crossed.leased()[0].sequence
    crossed.hear(outbox_ack(A, fold.sequence), sender=CLIENT)
    assert newer[1:] == crossed.outbox(A)


def test_R18_a_command_is_never_computed_from_what_is_delivered_again() -> None:
    rig = Rig(limits(entries=4, is_replayed=True))
    rig.registered(A)
    fill(rig, 2, 9)
    rig.restart()
    rig.module.asked.clear()
    rig.leased()
    rig.hear(phase(EXPOSED, splits=True), sender=CLIENT)
    rig.hear(outbox_ack(A, 10), sender=CLIENT)
    assert [] == rig.module.calls("generate_command")


def test_R1_what_is_read_is_asked_for_up_to_the_last_number_of_its_turn(rig: Rig) -> None:
    rig.registered(A)
    turn = rig.decide_once(Heard(SERVER, [status(1, 2, b"s2")]), Heard(CLIENT, [lease()]))
    (query,) = turn.reads
    assert isinstance(query, StreamQuery)
    assert (0, 2) == (query.after, query.up_to)
    assert [] == rig.decide_once(Heard(SERVER, [status(1, 3, b"s3")])).reads


def test_a_client_that_keeps_up_makes_nobody_read(rig: Rig) -> None:
    rig.leased()
    rig.connected(A)
    for number in range(1, 50):
        assert [] == rig.decide_once(Heard(SERVER, [status(1, number, b"s")])).reads
        rig.hear(receipt(number), sender=CLIENT)


def test_the_outbox_of_all_devices_is_bounded() -> None:
    rig = Rig(limits(total_bytes=20_000))
    rig.module.merges = False
    rig.registered(A)
    rig.registered(B, instance=2)
    for number in range(2, 60):
        rig.hear(status(1, number, b"s"), status(2, number, b"s"))
    assert rig.core.sizes()["outbox_bytes"] <= 20_000


def test_a_bound_that_was_lowered_holds_after_a_restart(rig: Rig) -> None:
    rig.registered(A)
    fill(rig, 2, 30)
    rig.limits = limits(entries=8)
    rig.restart()
    rig.decide()
    assert len(rig.outbox(A)) <= 8


def test_what_waits_for_too_long_is_folded() -> None:
    rig = Rig(limits(entries=32, age_s=3_600.0))
    rig.registered(A)
    fill(rig, 2, 3)
    rig.hear(ended(1))
    turn = rig.pass_time(4_000.0)
    assert 5 == turn.counts[Reason.OUTBOX_COMPACTED]
    assert 1 == len(rig.outbox(A))


def test_what_is_too_old_wakes_an_idle_handler(rig: Rig) -> None:
    rig.registered(A)
    rig.hear(ended(1))
    rig.pass_time(20.0)
    assert rig.now + 40.0 == rig.core.next_due()
