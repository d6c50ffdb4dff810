"""Statuses, failing commits, pages, trims, folds and restarts in any order (contract R1, R8, R18).

What was answered is in the store or was acknowledged, once; within a lease each identity's entries
arrive in the order of each lane, none is missing and none comes twice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from module_gateway.module_handler import compaction, stream
from module_gateway.module_handler.core import Core, Event, Heard, LinkBroken, PageRead
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.store import LogQuery, MemoryStore, Page, Query
from module_gateway.module_handler.turn import Turn
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device
from tests.unit.module_handler import rig as speak
from tests.unit.module_handler.rig import CLIENT, MODULE, SERVER, at_once, bodies
from tests.unit.module_handler.scripted_module import ScriptedModule

DEVICES = {1: speak.device("a"), 2: speak.device("b")}
WINDOW = 3


class PlainModule(ScriptedModule):
    """Publishes every status as it is."""

    def aggregate_status(self, current: bytes, new: bytes, device_type: int) -> bytes:
        return new


def words_of(entries: Sequence[Entry]) -> list[bytes]:
    """Every status that these entries carry; a repetition carries nothing new."""
    words: list[bytes] = []
    for entry in entries:
        if entry.error is not None:
            words += re.findall(rb"\[([^\]]*)\]", entry.error)
        elif not entry.is_repeat:
            words.append(entry.status)
    return words


class Client:
    """What the external client knows of its lease."""

    def __init__(self) -> None:
        self.is_granted = False
        self.received: Counter[int] = Counter()
        self.untaken: dict[int, int] = {}
        self.delivered: dict[Device, set[int]] = {}
        self.live: dict[Device, list[int]] = {}
        self.newest: dict[tuple[Device, int], int] = {}
        self.cut: int | None = None


class StreamMachine(RuleBasedStateMachine):
    is_replayed = False

    def __init__(self) -> None:
        super().__init__()
        self.module = PlainModule()
        self.store = MemoryStore()
        self.now = 1_000.0
        self.client = Client()
        self.queries: list[Query] = []
        self.pages: list[Page] = []
        self.sequences = dict.fromkeys(DEVICES, 0)
        self.instances: dict[int, int] = {}
        self.words = 0
        self.last_instance = 0
        self.answered: Counter[bytes] = Counter()
        self.in_doubt: Counter[bytes] = Counter()
        self.acknowledged: Counter[bytes] = Counter()
        self.fault = ""
        self.core = self.new_core()

    def new_core(self) -> Core:
        limits = speak.limits(entries=8, window=WINDOW, is_replayed=self.is_replayed)
        state = at_once(self.store.load())
        return Core(limits, {MODULE: self.module}, self.store.store_id, state, self.now)

    def log(self, who: Device) -> tuple[Entry, ...]:
        return at_once(self.store.read(LogQuery(who.identity, 2**31))).entries

    # One turn

    def decide(self, *events: Event) -> Turn | None:
        turn = self.core.decide(events, self.now, int(self.now * 1000))
        fault, self.fault = self.fault, ""
        if fault and turn.changes:
            if fault == "loses answer":
                at_once(self.store.commit(turn.changes))
            self.reload(turn)
            return None
        at_once(self.store.commit(turn.changes))
        self.queries += turn.reads
        for send in turn.sends:
            if send.receiver == CLIENT:
                self.client_hears(send.message)
        return turn

    def reload(self, failed: Turn) -> None:
        former, self.core = self.core, self.new_core()
        self.core.inherit(former, failed)
        self.queries.clear()
        self.pages.clear()
        self.decide(LinkBroken((SERVER,)))
        self.list_connections()

    def list_connections(self) -> None:
        lines = [
            (instance, DEVICES[number], self.sequences[number])
            for number, instance in self.instances.items()
        ]
        self.decide(Heard(SERVER, [speak.live(*lines)]))

    # The client

    def client_hears(self, message: bus_pb2.Message) -> None:
        client = self.client
        match message.WhichOneof("body"):
            case "lease_granted":
                self.client = Client()
                self.client.is_granted = True
            case "delivery" if client.is_granted:
                self.take(message.delivery)

    def take(self, delivery: bus_pb2.Delivery) -> None:
        client, lane = self.client, delivery.lane
        client.received[lane] += 1
        if delivery.delivery != client.received[lane]:
            client.is_granted = False  # it leases again when its rule comes
            return
        client.untaken[lane] = client.untaken.get(lane, 0) + 1
        assert client.untaken[lane] <= WINDOW
        sequence, who = delivery.sequence, Device.from_message(delivery.device)
        if not sequence:
            assert lane == bus_pb2.FOLDED
            return
        assert lane == self.expected_lane(sequence)
        assert client.newest.get((who, lane), 0) < sequence, "out of order, or twice"
        client.newest[who, lane] = sequence
        delivered = client.delivered.setdefault(who, set())
        for entry in self.log(who):
            is_older = entry.sequence < sequence
            is_this_lane = self.expected_lane(entry.sequence) == lane
            assert not (is_older and is_this_lane) or entry.sequence in delivered, "one is missing"
        delivered.add(sequence)
        if lane == bus_pb2.LIVE:
            client.live.setdefault(who, []).append(sequence)

    def expected_lane(self, sequence: int) -> int:
        if not self.is_replayed:
            return bus_pb2.FOLDED
        cut = self.client.cut
        return bus_pb2.LIVE if cut is not None and sequence > cut else bus_pb2.REPLAYED

    def say(self, *messages: bus_pb2.Message) -> Turn | None:
        return self.decide(Heard(CLIENT, messages))

    @rule()
    def lease(self) -> None:
        self.say(speak.lease())

    @precondition(lambda self: not self.client.is_granted)
    @rule()
    def lease_again(self) -> None:
        self.lease()

    @precondition(lambda self: self.client.is_granted)
    @rule(is_exposed=st.booleans(), splits=st.booleans())
    def enter_phase(self, is_exposed: bool, splits: bool) -> None:
        is_exposed |= splits
        client = self.client
        had_split = client.cut is not None
        if is_exposed and splits and self.is_replayed and not had_split and not self.fault:
            client.cut = at_once(self.store.load()).last_sequence
        number = speak.EXPOSED if is_exposed else speak.OFFLINE
        self.say(speak.phase(number, splits=splits))
        if had_split and not (is_exposed and splits):
            self.lease()

    @precondition(lambda self: self.client.is_granted)
    @rule(lane=st.sampled_from(bus_pb2.Lane.values()))
    def receipt(self, lane: bus_pb2.Lane) -> None:
        if self.client.untaken.get(lane):
            self.client.untaken[lane] = 0
            self.say(speak.receipt(self.client.received[lane], lane=lane))

    @precondition(lambda self: self.client.is_granted)
    @rule(number=st.sampled_from([*DEVICES]), back=st.integers(0, 4), is_live=st.booleans())
    def acknowledge(self, number: int, back: int, is_live: bool) -> None:
        who = DEVICES[number]
        live = self.client.live.get(who, [])
        older = sorted(self.client.delivered.get(who, set()) - set(live))
        sequences = live if is_live else older
        if len(sequences) <= back:
            return
        last = sequences[-1 - back]
        first = live[0] if is_live else 0
        before = self.log(who)
        if self.say(speak.outbox_ack(who, last, first_sequence=first)) is None:
            self.acknowledge_what_is_gone(who, before, first, last)
            return
        self.acknowledge_what_is_gone(who, before, first, last)
        left = [entry.sequence for entry in self.log(who)]
        assert not [sequence for sequence in left if first <= sequence <= last]

    def acknowledge_what_is_gone(
        self, who: Device, before: Sequence[Entry], first: int, last: int
    ) -> None:
        """A trim whose answer was lost may or may not have happened."""
        left = {entry.sequence for entry in self.log(who)}
        gone = [
            entry
            for entry in before
            if first <= entry.sequence <= last and entry.sequence not in left
        ]
        self.acknowledged.update(words_of(gone))

    @rule(lane=st.sampled_from(bus_pb2.Lane.values()))
    def lose_something(self, lane: bus_pb2.Lane) -> None:
        self.client.received[lane] -= 1

    # The devices

    @initialize()
    def connect_all(self) -> None:
        self.lease()
        for number in DEVICES:
            self.connect(number)

    @rule(number=st.sampled_from([*DEVICES]))
    def connect(self, number: int) -> None:
        if number not in self.instances and not self.fault:
            self.last_instance += 1
            self.instances[number], self.sequences[number] = self.last_instance, 0
            self.decide(Heard(SERVER, [speak.connect(self.last_instance, DEVICES[number])]))

    @rule(number=st.sampled_from([*DEVICES]))
    def leave(self, number: int) -> None:
        if number in self.instances and not self.fault:
            self.decide(Heard(SERVER, [speak.ended(self.instances.pop(number))]))

    @rule(number=st.sampled_from([*DEVICES]), count=st.integers(1, 12))
    def statuses(self, number: int, count: int) -> None:
        if number not in self.instances:
            return
        messages = []
        for _ in range(count):
            self.words += 1
            self.sequences[number] += 1
            word = b"w%d" % self.words
            messages.append(speak.status(self.instances[number], self.sequences[number], word))
        words = [message.status_request.status for message in messages]
        turn = self.decide(Heard(SERVER, messages))
        if turn is not None and len(bodies(turn, "status_reply")) == count:
            self.answered.update(words)
            return
        self.in_doubt.update(words)
        self.leave(number)  # its server closes it for that

    # The store

    @rule(fault=st.sampled_from(["fails", "loses answer"]))
    def next_commit_fails(self, fault: str) -> None:
        self.fault = fault

    @precondition(lambda self: self.queries)
    @rule(index=st.integers(0, 9))
    def read(self, index: int) -> None:
        query = self.queries.pop(index % len(self.queries))
        self.pages.append(at_once(self.store.read(query)))

    @precondition(lambda self: self.pages)
    @rule(index=st.integers(0, 9))
    def page_arrives(self, index: int) -> None:
        self.decide(PageRead(self.pages.pop(index % len(self.pages))))

    @precondition(lambda self: self.queries)
    @rule()
    def store_answers(self) -> None:
        while self.queries:
            self.read(0)
        while self.pages:
            self.page_arrives(0)

    @rule(seconds=st.sampled_from([1.0, 16.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.decide()

    @rule()
    def crash(self) -> None:
        self.fault = ""
        self.queries.clear()
        self.pages.clear()
        self.core = self.new_core()
        self.client.is_granted = False
        self.list_connections()

    # What holds

    @invariant()
    def what_was_answered_is_stored_or_acknowledged_once(self) -> None:
        there = Counter(self.acknowledged)
        for who in DEVICES.values():
            there.update(words_of(self.log(who)))
        assert not self.answered - there, "lost"
        assert not there - self.answered - self.in_doubt, "twice, or never sent"

    @invariant()
    def the_summary_covers_the_store(self) -> None:
        outbox = self.core._upstream.outbox
        for who in DEVICES.values():
            log = outbox.log(who.identity)
            assert len(self.log(who)) <= (0 if log is None else log.entries)

    def teardown(self) -> None:
        """With time and a store that works, everything is delivered."""
        self.fault = ""
        self.decide()
        self.say(speak.phase(speak.OFFLINE))
        self.lease()
        for _ in range(1_000):
            while self.queries or self.pages:
                self.store_answers()
            if not any(self.client.untaken.values()):
                break
            for lane in bus_pb2.Lane.values():
                self.receipt(lane)
        for who in DEVICES.values():
            stored = {entry.sequence for entry in self.log(who)}
            assert stored <= self.client.delivered.get(who, set())


class ReplayMachine(StreamMachine):
    """Begins in a session that splits, with something to replay."""

    is_replayed = True

    @initialize()
    def connect_all(self) -> None:
        super().connect_all()
        self.statuses(1, 4)
        self.enter_phase(is_exposed=True, splits=True)


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few entries are a long backlog."""
    monkeypatch.setattr(stream, "TAIL_ENTRIES", 4)
    monkeypatch.setattr(stream, "PAGE_ENTRIES", 5)
    monkeypatch.setattr(compaction, "FOLD_ENTRIES", 3)


SETTINGS = settings(max_examples=120, stateful_step_count=50, deadline=None)


def test_R1_R8_any_order_of_events_delivers_everything_once_and_in_order() -> None:
    run_state_machine_as_test(StreamMachine, settings=SETTINGS)


def test_R18_any_order_of_events_replays_everything_once_and_in_order() -> None:
    run_state_machine_as_test(ReplayMachine, settings=SETTINGS)
