"""Each forwarded command is judged once, in its own session."""

from __future__ import annotations

from module_gateway.module_handler.command_log import (
    MAX_VERDICTS,
    CommandLog,
    Dropped,
    Fresh,
    Overtaken,
    Repeated,
    Verdict,
)
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Identity

A = Identity(7, 0, "a")
B = Identity(7, 0, "b")
LAST_COUNTER = 2**32 - 1


def log_with(*verdicts: Verdict) -> CommandLog:
    log = CommandLog()
    for verdict in verdicts:
        log.record(verdict)
    return log


def test_R19_a_repeat_gets_the_recorded_verdict() -> None:
    log = log_with(Verdict(1, 1, 5, A, 3))
    assert Repeated(3) == log.look_up(1, 1, 5, A)


def test_R19_a_lower_session_or_epoch_is_dropped() -> None:
    log = log_with(Verdict(2, 2, 5, A, 0))
    stale = Dropped(Reason.COMMAND_STALE_SESSION)
    assert stale == log.look_up(2, 1, 6, A)
    assert stale == log.look_up(1, 9, 6, A)


def test_R19_a_new_session_voids_the_older_one() -> None:
    log = log_with(Verdict(1, 1, 5, A, 3))
    assert Fresh() == log.look_up(1, 2, 5, A)
    log.record(Verdict(1, 2, 5, A, 0))
    assert Repeated(0) == log.look_up(1, 2, 5, A)
    assert Dropped(Reason.COMMAND_STALE_SESSION) == log.look_up(1, 1, 5, A)


def test_R19_an_old_command_must_not_overtake_a_newer_one_of_its_device() -> None:
    log = log_with(Verdict(1, 1, 6, A, 0))
    assert Overtaken() == log.look_up(1, 1, 5, A)
    assert Fresh() == log.look_up(1, 1, 5, B)
    assert Fresh() == log.look_up(1, 1, 7, A)


def test_counters_wrap() -> None:
    log = log_with(Verdict(1, 1, LAST_COUNTER, A, 0))
    assert Fresh() == log.look_up(1, 1, 0, A)
    log.record(Verdict(1, 1, 0, A, 0))
    assert Overtaken() == log.look_up(1, 1, LAST_COUNTER - 1, A)


def test_the_log_is_bounded_oldest_first() -> None:
    log = log_with(*(Verdict(1, 1, n, Identity(7, 0, str(n)), 0) for n in range(MAX_VERDICTS + 1)))
    assert Fresh() == log.look_up(1, 1, 0, Identity(7, 0, "0"))
    assert Repeated(0) == log.look_up(1, 1, 1, Identity(7, 0, "1"))
