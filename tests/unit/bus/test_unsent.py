from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from module_gateway.bus import batch
from module_gateway.bus.address import Address
from module_gateway.bus.unsent import Parcel, Unsent
from module_gateway.protocol import bus_pb2

SENDER = Address(bus_pb2.INTERNAL_SERVER, 1)
ONE, TWO = Address(bus_pb2.MODULE_HANDLER, 1), Address(bus_pb2.MODULE_HANDLER, 2)


def status(sequence: int, size_bytes: int = 0) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.status_request.sequence = sequence
    message.status_request.status = bytes(size_bytes)
    return message


def sequences(parcel: Parcel) -> list[int]:
    return [message.status_request.sequence for message in batch.decode(parcel.payload)[1]]


def test_nothing_waits_at_first() -> None:
    unsent = Unsent(SENDER, 1024, 10, 10_000)
    assert not unsent
    assert (0, 0) == unsent.size(ONE)
    assert 0 == unsent.drop(ONE)
    with pytest.raises(IndexError):
        unsent.take()


def test_receivers_take_turns_batch_by_batch() -> None:
    unsent = Unsent(SENDER, 100, 10, 10_000)
    for sequence in range(2):
        unsent.put(ONE, status(sequence, 80))
        unsent.put(TWO, status(10 + sequence, 80))
    parcels = [unsent.take() for _ in range(4)]
    assert [ONE, TWO, ONE, TWO] == [parcel.receiver for parcel in parcels]
    assert [[0], [10], [1], [11]] == [sequences(parcel) for parcel in parcels]


def test_what_is_dropped_while_under_way_is_dropped_once() -> None:
    unsent = Unsent(SENDER, 1024, 10, 10_000)
    unsent.put(ONE, status(1))
    parcel = unsent.take()
    unsent.put(ONE, status(2))
    assert 2 == unsent.drop(ONE)
    unsent.put(ONE, status(3))
    assert not unsent.settle(parcel), "it was counted when it was dropped"
    assert 1 == unsent.size(ONE)[0]
    assert [3] == sequences(unsent.take())


def test_a_refused_message_leaves_no_queue_behind() -> None:
    unsent = Unsent(SENDER, 1024, 10, 100)
    assert not unsent.put(ONE, status(1, 200))
    assert not unsent
    assert 0 == unsent.drop_all()


def test_a_single_message_goes_past_the_queues() -> None:
    unsent = Unsent(SENDER, 1024, 10, 10_000)
    unsent.put(ONE, status(1))
    sender, messages = batch.decode(unsent.one(status(7, 5000)))
    assert SENDER == sender
    assert [status(7, 5000)] == list(messages)
    assert 1 == unsent.size(ONE)[0]


class UnsentAgainstAModel(RuleBasedStateMachine):
    """One batch under way at most, as the link does it; the model is a list per receiver."""

    MAX_MESSAGES, MAX_BYTES, BATCH_BYTES = 8, 600, 200

    def __init__(self) -> None:
        super().__init__()
        self.unsent = Unsent(SENDER, self.BATCH_BYTES, self.MAX_MESSAGES, self.MAX_BYTES)
        self.waiting: dict[Address, list[tuple[int, int]]] = {ONE: [], TWO: []}
        self.under_way: Parcel | None = None
        self.was_dropped = False
        self.sequence = 0

    def counted(self, receiver: Address) -> list[tuple[int, int]]:
        waiting = list(self.waiting[receiver])
        parcel = self.under_way
        if parcel is not None and parcel.receiver == receiver and not self.was_dropped:
            waiting += [(0, 0)] * (parcel.messages - 1) + [(0, parcel.size_bytes)]
        return waiting

    @rule(receiver=st.sampled_from([ONE, TWO]), size_bytes=st.sampled_from([0, 30, 150, 300]))
    def put(self, receiver: Address, size_bytes: int) -> None:
        self.sequence += 1
        message = status(self.sequence, size_bytes)
        entry_bytes = len(batch.encode_entry(message))
        counted = self.counted(receiver)
        has_room = (
            len(counted) < self.MAX_MESSAGES
            and sum(size for _, size in counted) + entry_bytes <= self.MAX_BYTES
        )
        assert has_room == self.unsent.put(receiver, message)
        if has_room:
            self.waiting[receiver].append((self.sequence, entry_bytes))

    @precondition(lambda self: self.under_way is None and any(self.waiting.values()))
    @rule()
    def take(self) -> None:
        parcel = self.unsent.take()
        taken = self.waiting[parcel.receiver][: parcel.messages]
        assert [sequence for sequence, _ in taken] == sequences(parcel)
        assert len(parcel.payload) <= self.BATCH_BYTES or parcel.messages == 1
        assert sum(size for _, size in taken) == parcel.size_bytes
        del self.waiting[parcel.receiver][: parcel.messages]
        self.under_way, self.was_dropped = parcel, False

    @precondition(lambda self: self.under_way is not None)
    @rule()
    def settle(self) -> None:
        assert self.under_way is not None
        assert (not self.was_dropped) == self.unsent.settle(self.under_way)
        self.under_way = None

    @rule(receiver=st.sampled_from([ONE, TWO]))
    def drop(self, receiver: Address) -> None:
        assert len(self.counted(receiver)) == self.unsent.drop(receiver)
        self.waiting[receiver].clear()
        if self.under_way is not None and self.under_way.receiver == receiver:
            self.was_dropped = True

    @invariant()
    def sizes_are_those_of_the_model(self) -> None:
        assert any(self.waiting.values()) == bool(self.unsent)
        for receiver in (ONE, TWO):
            counted = self.counted(receiver)
            expected = (len(counted), sum(size for _, size in counted))
            assert expected == self.unsent.size(receiver)


TestUnsentAgainstAModel = UnsentAgainstAModel.TestCase
TestUnsentAgainstAModel.settings = settings(max_examples=100, stateful_step_count=40)
