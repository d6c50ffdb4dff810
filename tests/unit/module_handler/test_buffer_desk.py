"""What an operator's tool may ask of the handler, and that it gets one answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from module_gateway.bus.address import Address
from module_gateway.module_handler.buffer_desk import MAX_TOOLS, TOOL, BufferDesk
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.store import EntriesTrimmed, EntryAppended, StreamQuery
from module_gateway.module_handler.turn import Turn
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device, Identity
from tests.unit.module_handler.rig import (
    ENDPOINT,
    EPOCH,
    MODULE,
    Rig,
    at_once,
    bodies,
    device,
    kinds,
    status,
)

A, B = Device.of(7, 0, "a", "Device A", 3), Device.of(7, 0, "b")
STORE = 2**63 + 1
SENDER = Address(TOOL, 5)


@dataclass
class Outbox:
    """Remembers what it is told."""

    waiting: set[Identity] = field(default_factory=set)
    done: list[object] = field(default_factory=list)

    def owes(self, identity: Identity) -> bool:
        return identity in self.waiting

    def purge(self, identity: Identity, first: int, last: int, turn: Turn) -> None:
        self.done.append((identity, first, last))

    def put_back(self, entry: Entry, turn: Turn) -> None:
        self.done.append(entry)

    def void(self, turn: Turn) -> None:
        self.done.append("void")


@pytest.fixture
def owed() -> Outbox:
    return Outbox()


@pytest.fixture
def desk(owed: Outbox) -> BufferDesk:
    return BufferDesk(owed, {7}, lambda identity: identity == A.identity, STORE)


def request(number: int = 1, store_id: int = STORE) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.buffer_request.store_id = store_id
    message.buffer_request.request = number
    message.buffer_request.what = "--all"
    return message


def purging(who: Device = A, number: int = 1) -> bus_pb2.Message:
    message = request(number)
    stretch = message.buffer_request.purge.add(first_sequence=2, last_sequence=9)
    who.write_to(stretch.device)
    return message


def returning(*entries: Entry, unless_registered: bool = False) -> bus_pb2.Message:
    message = request()
    for entry in entries:
        each = message.buffer_request.returned.add(
            status=entry.status,
            ends_registration=entry.ends_registration,
            is_repeat=entry.is_repeat,
            error=entry.error,
            time_unix_ms=entry.time_unix_ms,
            unless_registered=unless_registered,
        )
        entry.device.write_to(each.device)
    return message


def ask(desk: BufferDesk, message: bus_pb2.Message, sender: Address = SENDER) -> Turn:
    turn = Turn(0.0, 1_000)
    desk.readers["buffer_request"](sender, message, turn)
    return turn


def answers(turn: Turn) -> list[tuple[Address, int, str]]:
    assert all(send.message.buffer_answer.store_id == STORE for send in turn.sends)
    return [
        (send.receiver, send.message.buffer_answer.request, send.message.buffer_answer.refusal)
        for send in turn.sends
    ]


def test_a_purge_reaches_the_outbox_and_makes_the_clients_ask_anew(
    desk: BufferDesk, owed: Outbox
) -> None:
    turn = ask(desk, purging())
    assert [(A.identity, 2, 9), "void"] == owed.done
    assert [(SENDER, 1, "")] == answers(turn)
    (note,) = turn.notes
    assert ("buffer_purged", {"what": "--all", "stretches": 1, "by": "tool/5"}) == (
        note.event,
        note.fields,
    )


def test_entries_are_put_back_as_they_were(desk: BufferDesk, owed: Outbox) -> None:
    entries = [
        Entry(0, A, b"s", is_repeat=True, time_unix_ms=5),
        Entry(0, B, b"t", ends_registration=True, error=b"e", time_unix_ms=-6),
        Entry(0, B, b"u"),
    ]
    turn = ask(desk, returning(*entries))
    assert entries == owed.done
    assert [(SENDER, 1, "")] == answers(turn)
    assert [("buffer_replayed", 3)] == [(note.event, note.fields["entries"]) for note in turn.notes]


def test_a_device_that_is_there_is_not_said_to_have_left(desk: BufferDesk, owed: Outbox) -> None:
    left = [Entry(0, A, b"s"), Entry(0, B, b"s")]
    ask(desk, returning(*left, unless_registered=True))
    assert [left[1]] == owed.done


def test_an_old_end_does_not_end_the_registration_of_now(desk: BufferDesk, owed: Outbox) -> None:
    ends = [Entry(0, each, b"s", ends_registration=True) for each in (A, B)]
    ask(desk, returning(*ends))
    assert [ends[0]._replace(ends_registration=False), ends[1]] == owed.done


def test_a_request_about_another_store_is_none_of_ours(desk: BufferDesk, owed: Outbox) -> None:
    turn = ask(desk, request(store_id=STORE - 1))
    assert ([], []) == (turn.sends, owed.done)


def test_a_repeated_request_is_answered_again_and_not_done_again(
    desk: BufferDesk, owed: Outbox
) -> None:
    turns = [ask(desk, purging()), ask(desk, purging())]
    assert [[(SENDER, 1, "")]] * 2 == [answers(turn) for turn in turns]
    assert 2 == len(owed.done)
    ask(desk, purging(number=2))
    ask(desk, purging(), Address(TOOL, 6))
    assert 6 == len(owed.done)


def test_only_so_many_tools_are_remembered(desk: BufferDesk, owed: Outbox) -> None:
    for boot_id in range(1, MAX_TOOLS + 2):
        ask(desk, purging(), Address(TOOL, boot_id))
    owed.done.clear()
    ask(desk, purging(), Address(TOOL, MAX_TOOLS + 1))
    assert [] == owed.done
    ask(desk, purging(), Address(TOOL, 1))
    assert 2 == len(owed.done)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([Entry(0, A, b"s"), Entry(0, Device.of(8, 0, "a"), b"s")], "module 8 is not configured"),
        ([Entry(0, A, b"s"), Entry(0, A, b"s", error=b"")], "7/0/a stands for older ones"),
        ([Entry(0, B, b"s", error=b"")], "7/0/b stands for older ones"),
    ],
)
def test_what_cannot_be_put_back_is_refused_with_all_of_its_request(
    desk: BufferDesk, owed: Outbox, entries: list[Entry], said: str
) -> None:
    owed.waiting.add(B.identity)
    turn = ask(desk, returning(*entries))
    ((_, _, refusal),) = answers(turn)
    assert said in refusal
    assert ([], []) == (owed.done, turn.notes)


# With the handler's core


def stored(rig: Rig) -> list[Entry]:
    """Every committed entry."""
    query = StreamQuery(0, 0, 0, frozenset({MODULE, MODULE + 1}), 0, 2**62, 2**31)
    return list(at_once(rig.store.read(query)).entries)


def test_a_purge_is_committed_and_delivered_to_nobody() -> None:
    rig = Rig()
    a, b = device("a"), device("b")
    rig.registered(a)
    rig.hear(status(1, 2, b"s2"))
    rig.registered(b, instance=2)
    message = request()
    message.buffer_request.store_id = rig.store.store_id
    stretch = message.buffer_request.purge.add(last_sequence=2)
    a.write_to(stretch.device)
    turn = rig.hear(message, sender=SENDER)
    assert ["buffer_answer"] == kinds(turn)
    assert [EntriesTrimmed(a.identity, 2, 0)] == turn.changes
    assert [b.identity] == [each.device.identity for each in stored(rig)]
    assert [3] == [each.sequence for each in rig.leased()]
    rig.restart()
    assert [3] == [each.sequence for each in rig.leased()]


def test_a_purge_voids_what_a_client_was_given() -> None:
    rig = Rig()
    a = device("a")
    rig.registered(a)
    rig.hear(status(1, 2, b"s2"))
    assert [1, 2] == [each.delivery for each in rig.leased()]
    message = request()
    message.buffer_request.store_id = rig.store.store_id
    a.write_to(message.buffer_request.purge.add(last_sequence=1).device)
    turn = rig.hear(message, sender=SENDER)
    (voided,) = bodies(turn, "deliveries_voided")
    assert (ENDPOINT, EPOCH) == (voided.endpoint, voided.epoch)
    assert [4] == [each.delivery for each in bodies(turn, "delivery")], "a gap shows it as well"
    assert [2] == [each.sequence for each in rig.leased()]


def test_entries_that_are_back_are_delivered_behind_the_others() -> None:
    rig = Rig()
    a, b = device("a"), device("b")
    rig.registered(a)
    fold = Entry(0, b, b"fold", error=b"e", time_unix_ms=5)
    message = returning(fold, Entry(0, a, b"old", time_unix_ms=7))
    message.buffer_request.store_id = rig.store.store_id
    rig.hear(message, sender=SENDER)
    expected = [
        (b"s1", None, 0), (b"fold", b"e", 2), (b"old", None, 0),
    ]  # fmt: skip
    found = [
        (each.status, each.error if each.HasField("error") else None, each.first_sequence)
        for each in rig.leased()
    ]
    assert expected == found
    assert [5, 7] == [each.time_unix_ms for each in stored(rig)][1:]
    rig.restart()
    assert [1, 2, 3] == [each.sequence for each in rig.leased()]


def test_an_entry_that_is_back_reaches_a_client_that_waits() -> None:
    rig = Rig()
    rig.leased()
    message = returning(Entry(0, device("a"), b"old", time_unix_ms=7))
    message.buffer_request.store_id = rig.store.store_id
    turn = rig.hear(message, sender=SENDER)
    assert {"delivery", "buffer_answer"} == set(kinds(turn))
    (delivery,) = bodies(turn, "delivery")
    assert (b"old", 7) == (delivery.status, delivery.time_unix_ms)


def test_a_purge_of_a_module_that_is_not_configured_reaches_the_store() -> None:
    rig = Rig()
    stranger = Device.of(MODULE + 1, 0, "x")
    at_once(rig.store.commit([EntryAppended(Entry(1, stranger, b"s"))]))
    rig.restart()
    message = request()
    message.buffer_request.store_id = rig.store.store_id
    stranger.write_to(message.buffer_request.purge.add(last_sequence=1).device)
    rig.hear(message, sender=SENDER)
    assert [] == stored(rig)


def test_nothing_of_a_tool_is_read_but_its_requests() -> None:
    rig = Rig()
    message = bus_pb2.Message()
    message.connect_request.instance = 1
    assert 1 == rig.hear(message, sender=SENDER).counts[Reason.UNEXPECTED_MESSAGE]
