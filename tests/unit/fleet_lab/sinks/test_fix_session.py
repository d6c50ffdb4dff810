from __future__ import annotations

from datetime import UTC, datetime

import pytest
from simplefix import FixMessage, FixParser

from fleet_lab.sinks.fix_session import (
    Acknowledged,
    Commanded,
    Ended,
    FixSession,
    LoggedOn,
    Rejected,
    Send,
)

NOW = datetime(2026, 11, 20, 12, 30, 15, 678_900, tzinfo=UTC)


def message(kind: str, sequence: int, *pairs: tuple[int, object], begin: str = "FIX.4.4") -> bytes:
    made = FixMessage()
    for tag, value in ((8, begin), (35, kind), (49, "GW"), (56, "d"), (34, sequence), *pairs):
        made.append_pair(tag, value)
    return bytes(made.encode())


def parsed(frame: bytes) -> list[dict[int, bytes]]:
    parser = FixParser()
    parser.append_buffer(frame)
    found = []
    while (one := parser.get_message()) is not None:
        found.append({int(tag): value for tag, value in one.pairs})
    return found


def logged_on() -> FixSession:
    session = FixSession("d", "GW")
    session.logon(NOW)
    assert list(session.receive(message("A", 1, (98, 0), (108, 30)), NOW)) == [LoggedOn()]
    return session


def test_the_logon_starts_the_numbers_again() -> None:
    (logon,) = parsed(FixSession("d", "GW").logon(NOW))
    assert {tag: logon[tag] for tag in (8, 35, 49, 56, 34, 52, 98, 108, 141)} == {
        8: b"FIX.4.4", 35: b"A", 49: b"d", 56: b"GW", 34: b"1", 52: b"20261120-12:30:15.678",
        98: b"0", 108: b"30", 141: b"Y",
    }  # fmt: skip


def test_a_status_is_a_news_and_a_question_whose_answer_acknowledges_it() -> None:
    session = logged_on()
    news, question = parsed(session.status(7, b"\x01raw", NOW))
    assert (news[35], news[34], news[148], news[33], news[95], news[96]) == (
        b"B", b"2", b"d", b"1", b"4", b"\x01raw",
    )  # fmt: skip
    assert (question[35], question[34], question[112]) == (b"1", b"3", b"7")
    assert list(session.receive(message("0", 2), NOW)) == []
    assert list(session.receive(message("0", 3, (112, 7)), NOW)) == [Acknowledged(7)]
    assert list(session.receive(message("0", 4, (112, 7)), NOW)) == []


@pytest.mark.parametrize("kind", ["3", "j"])
def test_a_reject_of_the_status_is_told_once(kind: str) -> None:
    session = logged_on()
    session.status(7, b"x", NOW)
    assert list(session.receive(message(kind, 2, (45, 3), (58, "other")), NOW)) == []
    assert list(session.receive(message(kind, 3, (45, 2), (58, "no\x1b")), NOW)) == [
        Rejected(7, "no?")
    ]
    assert list(session.receive(message("0", 4, (112, 7)), NOW)) == []


def test_a_question_is_answered_and_news_is_a_command() -> None:
    session = logged_on()
    (event,) = session.receive(message("1", 2, (112, "hello")), NOW)
    assert isinstance(event, Send)
    (answer,) = parsed(event.frame)
    assert (answer[35], answer[112]) == (b"0", b"hello")
    frames = message("B", 3, (58, "text")) + message("B", 4, (95, 3), (96, b"r\x01w"))
    assert list(session.receive(frames, NOW)) == [Commanded(b"text"), Commanded(b"r\x01w")]


def test_a_request_to_resend_gets_a_gap_fill() -> None:
    session = logged_on()
    session.status(1, b"x", NOW)
    (event,) = session.receive(message("2", 2, (7, 2), (16, 0)), NOW)
    assert isinstance(event, Send)
    (fill,) = parsed(event.frame)
    assert (fill[35], fill[34], fill[43], fill[123], fill[36]) == (b"4", b"2", b"Y", b"Y", b"4")
    assert parsed(session.heartbeat(NOW))[0][34] == b"4"


def test_a_gap_is_asked_for_and_filled() -> None:
    session = logged_on()
    (event,) = session.receive(message("B", 5, (58, "late")), NOW)
    assert isinstance(event, Send)
    (request,) = parsed(event.frame)
    assert (request[35], request[7], request[16]) == (b"2", b"2", b"0")
    assert list(session.receive(message("4", 2, (123, "Y"), (36, 6)), NOW)) == []
    assert list(session.receive(message("B", 6, (58, "next")), NOW)) == [Commanded(b"next")]


def test_a_number_that_is_too_low_ends_the_session_unless_it_is_a_repeat() -> None:
    session = logged_on()
    assert list(session.receive(message("B", 1, (43, "Y"), (58, "again")), NOW)) == []
    logout, ended = session.receive(message("B", 1, (58, "again")), NOW)
    assert isinstance(logout, Send)
    assert parsed(logout.frame)[0][35] == b"5"
    assert ended == Ended("the counterparty's MsgSeqNum 1 is too low")


def test_a_logout_is_answered() -> None:
    logout, ended = logged_on().receive(message("5", 2, (58, "night")), NOW)
    assert isinstance(logout, Send)
    assert ended == Ended("logged out by the counterparty: night")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (message("0", 1), "the counterparty's first message is no Logon"),
        (message("A", 1, begin="FIX.4.2"), "the counterparty's message has no FIX 4.4 header"),
        (message("A", -1), "the counterparty's message has no FIX 4.4 header"),
    ],
)
def test_whoever_is_no_counterparty_is_left(frame: bytes, reason: str) -> None:
    session = FixSession("d", "GW")
    session.logon(NOW)
    assert list(session.receive(frame, NOW)) == [Ended(reason)]


def test_garbage_ends_the_session() -> None:
    session = logged_on()
    (event,) = session.receive(b"8=FIX.4.4\x019=5\x0135=\x0110=000\x01", NOW)
    assert isinstance(event, Ended)
