"""Whatever order the network makes of a gateway's messages, the control plane does its part."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from module_gateway.control_plane.events import (
    CommandWanted,
    Effect,
    Event,
    LinkLost,
    LinkRestored,
    MessageReceived,
    StatusApplied,
    StopWanted,
    Tick,
)
from module_gateway.control_plane.session import Limits, Phase, VehicleSession
from module_gateway.protocol.errors import RemoteProtocolError
from module_gateway.protocol.external import (
    CommandResponse,
    Connect,
    DeviceState,
    Position,
    Status,
    decode_client_message,
    encode,
)
from module_gateway.protocol.identity import Device
from tests.control_plane_script import (
    SESSION,
    Script,
    acknowledged,
    applied,
    commands,
    connect,
    ended,
    published,
    status,
)

DEVICES = [
    Device.of(module, kind, role)
    for module, kind, role in zip(
        (1, 2, 3, 1000, 77), (1, 0, 9, 0, 4), ("a", "b", "c", "d", "e"), strict=True
    )
]


@given(st.data())
def test_every_order_of_a_valid_session_ends_acknowledged(data):
    """Statuses reordered and repeated, answers in any order between them."""
    announced = data.draw(st.lists(st.sampled_from(DEVICES), unique=True))
    first = [(device, DeviceState.CONNECTING) for device in announced]
    later = data.draw(
        st.lists(st.tuples(st.sampled_from(DEVICES), st.sampled_from([0, 1, 3])), max_size=30)
    )
    statuses = [
        status(counter, device, state, str(counter).encode())
        for counter, (device, state) in enumerate([*first, *later], start=1)
    ]
    repeats = data.draw(st.lists(st.sampled_from(statuses), max_size=5)) if statuses else []
    under_way = data.draw(st.permutations([*statuses, *repeats]))
    script = Script()
    effects: list[Effect] = script.send(connect(announced))
    unanswered = commands(effects)
    while under_way or unanswered:
        is_answer = bool(unanswered) and (not under_way or data.draw(st.booleans()))
        if is_answer:
            command = unanswered.pop(data.draw(st.integers(0, len(unanswered) - 1)))
            step = script.send(CommandResponse(SESSION, 0, command.counter))
        else:
            step = script.send(under_way.pop())
        unanswered += commands(step)
        effects += step
    assert ended(effects) == []
    assert script.session.phase is Phase.RUNNING
    assert applied(effects) == [one.status for one in statuses]
    assert set(acknowledged(effects)) == {one.counter for one in statuses}
    assert len(commands(effects)) == len(announced)
    assert script.wait(4.9) == []


@given(st.data())
def test_R11_every_outbox_entry_is_applied_once_however_often_it_is_sent(data):
    """Sessions break anywhere; the gateway sends again from any entry not acknowledged."""
    script = Script()
    entries = data.draw(st.integers(1, 15))
    done = 0
    seen: list[Position | None] = []
    for attempt in range(data.draw(st.integers(1, 6))):
        session_id = f"s{attempt}"
        script.send(connect([DEVICES[0]], session_id))
        start = data.draw(st.integers(1, done + 1))
        stop = entries if attempt == 5 else data.draw(st.integers(start - 1, entries))
        for counter, sequence in enumerate(range(start, stop + 1), start=1):
            effects = script.send(
                status(counter, DEVICES[0], session_id=session_id, sequence=sequence)
            )
            seen += [effect.position for effect in effects if isinstance(effect, StatusApplied)]
            assert acknowledged(effects) == [counter]
        done = max(done, stop)
    assert seen == [Position(9, sequence) for sequence in range(1, done + 1)]


text = st.text(max_size=8)
numbers = st.integers(0, 2**32 - 1) | st.integers(0, 6)
devices = st.sampled_from(DEVICES) | st.builds(
    Device.of, st.integers(-(2**31), 2**31 - 1), numbers, text, text, numbers
)
sessions = st.sampled_from(["", SESSION, "s2"])
messages = st.one_of(
    st.builds(
        Connect,
        sessions,
        text,
        text,
        st.lists(devices, max_size=4).map(tuple),
        st.lists(st.sampled_from(["applied", "replay", "x"]), max_size=3).map(tuple),
    ),
    st.builds(
        Status,
        sessions,
        st.integers(-1, 5),
        numbers,
        devices,
        st.binary(max_size=5),
        st.none() | st.binary(max_size=3),
        st.none() | st.builds(Position, numbers, numbers),
        numbers,
        st.booleans(),
        st.booleans(),
    ),
    st.builds(CommandResponse, sessions, st.integers(-1, 5), numbers),
)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(MessageReceived, messages, st.integers(0, 1000), st.integers(0, 3)),
    st.builds(
        CommandWanted, text, devices, st.binary(max_size=3), st.floats(0, 200, allow_nan=False)
    ),
    st.sampled_from([Tick(), LinkLost(), LinkRestored(), StopWanted()]),
)


@given(st.lists(st.tuples(events, st.floats(0, 20, allow_nan=False)), max_size=40))
def test_no_input_makes_the_session_raise_or_acknowledge_what_was_not_sent(steps):
    session = VehicleSession(Limits(early_statuses=3, command_window=2))
    now = 0.0
    sent: set[tuple[str, int]] = set()
    for event, pause in steps:
        now += pause
        match event:
            case MessageReceived(Status(session_id, counter=counter)):
                sent.add((session_id, counter))
            case _:
                pass
        effects = session.step(event, now)
        for message in published(effects):
            encode(message)
        assert {(session.session_id, counter) for counter in acknowledged(effects)} <= sent or (
            session.session_id is None
        )
        deadline = session.next_deadline
        if deadline is not None and isinstance(event, Tick):
            assert deadline > now


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(payload):
    try:
        message = decode_client_message(payload)
    except RemoteProtocolError:
        return
    Script().send(message)
