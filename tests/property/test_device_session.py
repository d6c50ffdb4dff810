"""Whatever bytes arrive in whatever pieces, a device session gives events or one clean end."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from module_gateway.internal_server import events as ev
from module_gateway.internal_server.rules import SessionRules
from module_gateway.internal_server.session import DeviceSession, State
from module_gateway.protocol.framing import encode_frame
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import encode_connect, encode_status
from tests.golden import BUTTON, CLIENT_FRAMES

CONNECT = bytes.fromhex(CLIENT_FRAMES["connect"][0])
STATUS = bytes.fromhex(CLIENT_FRAMES["status"][0])
OTHER = Device.of(1000, 0, "right_button")
RULES = SessionRules(admit=lambda _device: None, max_frame_bytes=4096)

GOLDEN_SESSIONS = {
    "connect": CONNECT,
    "one status": CONNECT + STATUS,
    "many statuses": CONNECT + STATUS * 5,
    "empty status": CONNECT + encode_status(BUTTON, b"") * 2,
    "status first": STATUS + CONNECT,
    "connect twice": CONNECT + STATUS + CONNECT + STATUS,
    "for another device": CONNECT + STATUS + encode_status(OTHER, b"x") + STATUS,
    "garbage at the end": CONNECT + STATUS + encode_frame(b"\xff\xff") + STATUS,
    "empty frame": CONNECT + STATUS + bytes(4) + STATUS,
    "unfinished": CONNECT + STATUS + STATUS[:-1],
}


def play(chunks: Iterable[bytes]) -> list[ev.Effect]:
    """All effects of a session whose handler answers at once."""
    session = DeviceSession(RULES, 0.0)
    effects: list[ev.Effect] = []
    for chunk in chunks:
        pending = session.step(ev.BytesReceived(chunk), 0.0)
        while pending:
            effect = pending.pop(0)
            effects.append(effect)
            match effect:
                case ev.RequestConnect():
                    pending += session.step(ev.VerdictArrived(0), 0.0)
                case ev.RequestStatus(sequence, status):
                    pending += session.step(ev.ReplyArrived(sequence, status), 0.0)
                case _:
                    pass
    return effects


class Shortcut(DeviceSession):
    """Takes the short way wherever there is one, and tells it in the words of the table."""

    __slots__ = ()

    def step(self, event: ev.Event, now: float) -> list[ev.Effect]:
        match event:
            case ev.BytesReceived(chunk):
                status = self.take_status(chunk, now)
                if status is not None:
                    return [ev.RequestStatus(self.last_sequence, status)]
            case ev.ReplyArrived(sequence, command):
                asked_at = self.asked_at
                frame = self.take_reply(sequence, command)
                if frame is not None:
                    return [ev.WriteCommand(frame, now - asked_at)]
            case _:
                pass
        return super().step(event, now)


def known(session: DeviceSession) -> tuple[object, ...]:
    """All that later answers depend on."""
    return (
        *(session.state, session.deadline, session.asked_at, session.last_sequence),
        *(session.wants_bytes, session.buffered_bytes, session.is_waiting),
    )


@st.composite
def pieces(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    stream = GOLDEN_SESSIONS[draw(st.sampled_from(sorted(GOLDEN_SESSIONS)))]
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    edges = [0, *cuts, len(stream)]
    return stream, [stream[a:b] for a, b in pairwise(edges)]


@given(pieces())
@settings(max_examples=300, deadline=None)
def test_bytes_split_and_merged_anywhere_give_the_same_effects(case: tuple[bytes, list[bytes]]):
    stream, chunks = case
    assert play(chunks) == play([stream])


def test_W3_every_golden_session_survives_being_cut_into_single_bytes():
    for stream in GOLDEN_SESSIONS.values():
        assert play(stream[n : n + 1] for n in range(len(stream))) == play([stream])


EVENTS = st.one_of(
    st.binary(max_size=40).map(ev.BytesReceived),
    st.sampled_from([CONNECT, STATUS, CONNECT[:9], STATUS[9:]]).map(ev.BytesReceived),
    st.integers(0, 4).map(ev.VerdictArrived),
    st.integers(0, 4).map(lambda sequence: ev.ReplyArrived(sequence, b"c")),
    st.sampled_from(
        [
            ev.PeerClosed(),
            ev.Probed(),
            ev.DeadlineChecked(),
            ev.WritingStalled(),
            ev.WritingResumed(),
            ev.FramesHeld(),
            ev.FramesReleased(),
            ev.CommandPushed(b"p"),
        ]
    ),
)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 20)), max_size=40))
@settings(max_examples=400, deadline=None)
def test_any_history_asks_once_numbers_without_gaps_and_closes_once(
    history: Sequence[tuple[ev.Event, float]],
):
    session = DeviceSession(RULES, 0.0)
    now = 0.0
    effects: list[ev.Effect] = []
    for event, pause_s in history:
        now += pause_s
        effects += session.step(event, now)
        if session.state is not State.CLOSED:
            assert session.deadline < now + 31
    asked = [effect for effect in effects if isinstance(effect, ev.RequestConnect)]
    handed = [effect.sequence for effect in effects if isinstance(effect, ev.RequestStatus)]
    replies = [e for e in effects if isinstance(e, ev.WriteCommand) and e.waited_s >= 0]
    closes = [n for n, effect in enumerate(effects) if isinstance(effect, ev.Close)]
    assert len(asked) <= 1
    assert handed == list(range(1, len(handed) + 1))
    assert len(handed) - 1 <= len(replies) <= len(handed)
    assert len(closes) == (session.state is State.CLOSED)
    for effect in effects[closes[0] + 1 :] if closes else []:
        assert isinstance(effect, ev.Drop | ev.AnswerProbe)


LIKELY = st.one_of(
    EVENTS,
    st.sampled_from(
        [
            encode_status(BUTTON, b""),
            encode_status(BUTTON, bytes(200)),
            encode_status(BUTTON, bytes(4096)),
            encode_status(Device(BUTTON.identity, "another name", 7), b"s"),
            encode_frame(STATUS[4:] + b"\x98\x06\x01"),
            encode_frame(b"\x12\x0d" + STATUS[6:19]),
            encode_status(OTHER, b"x"),
            STATUS * 2,
            b"\x00" + STATUS[1:],
        ]
    ).map(ev.BytesReceived),
)


@given(st.lists(st.tuples(LIKELY, st.sampled_from([0.0, 0.1, 1.0])), max_size=40))
@settings(max_examples=600, deadline=None)
def test_the_short_way_does_what_the_table_says(history: Sequence[tuple[ev.Event, float]]):
    table, short = DeviceSession(RULES, 0.0), Shortcut(RULES, 0.0)
    now = 0.0
    for session in (table, short):
        session.step(ev.BytesReceived(CONNECT), now)
        session.step(ev.VerdictArrived(0), now)
    for event, pause_s in history:
        now += pause_s
        assert short.step(event, now) == table.step(event, now)
        assert known(short) == known(table)
        answer = ev.ReplyArrived(table.last_sequence, b"c" * (table.last_sequence % 3))
        assert short.step(answer, now) == table.step(answer, now)
        assert known(short) == known(table)


def malformed(chance: random.Random) -> bytes:
    """Something like a session, broken in one of many ways."""
    stream = bytearray(chance.choice((CONNECT, STATUS, CONNECT + STATUS, STATUS + CONNECT)))
    match chance.randrange(7):
        case 0:
            return chance.randbytes(chance.randrange(1, 60))
        case 1:
            return encode_frame(chance.randbytes(chance.randrange(1, 60)))
        case 2:
            for _ in range(chance.randrange(1, 4)):
                stream[chance.randrange(len(stream))] = chance.randrange(256)
        case 3:
            del stream[chance.randrange(len(stream)) :]
        case 4:
            position = chance.randrange(len(stream))
            stream[position:position] = chance.randbytes(chance.randrange(1, 9))
        case 5:
            stream[:4] = chance.randrange(2**32).to_bytes(4, "little")
        case _:
            position = chance.randrange(len(stream))
            del stream[position : position + chance.randrange(1, 9)]
    return bytes(stream)


def test_100000_malformed_frames_give_events_or_one_protocol_error():
    chance = random.Random(20261120)
    seen: set[type[ev.Effect]] = set()
    for number in range(100_000):
        prefix = encode_connect(BUTTON) if number % 2 else b""
        effects = play((prefix, malformed(chance)) if prefix else (malformed(chance),))
        closes = [effect for effect in effects if isinstance(effect, ev.Close)]
        assert len(closes) <= 1
        assert not closes or effects[-1] is closes[0]
        seen.update(map(type, effects))
    assert seen == {
        ev.RequestConnect,
        ev.WriteConnectResponse,
        ev.RequestStatus,
        ev.WriteCommand,
        ev.Close,
    }
