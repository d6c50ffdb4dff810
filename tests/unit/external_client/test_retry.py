"""When to try again (fleet-protocol 4.9, decisions "Recovery within 0.5 s")."""

from __future__ import annotations

import pytest

from module_gateway.external_client.backoff import Backoff, Pause
from module_gateway.external_client.retry import (
    NOTICE_DELAY_S,
    PROMPT_MAX_S,
    PROMPT_S,
    PROMPT_STABLE_S,
    STABLE_S,
    Retry,
)
from module_gateway.protocol.errors import Reason


@pytest.fixture
def retry() -> Retry:
    def chance() -> float:
        return 0.5

    return Retry(Backoff(1.0, 10.0, chance), Pause(1.0, 2.0, chance), chance)


def end(retry: Retry, reason: Reason, now: float, *, was_answered: bool = True) -> float:
    retry.ended(reason, now, was_answered=was_answered)
    return retry.start_at - now


def test_first_attempt_need_not_wait(retry: Retry) -> None:
    assert 0.0 == retry.start_at


def test_last_device_gone_means_a_pause(retry: Retry) -> None:
    assert 1.5 == end(retry, Reason.SESSION_IDLE, 10.0)


def test_failure_backs_off(retry: Retry) -> None:
    waits = [end(retry, Reason.STEP_TIMEOUT, 10.0) for _ in range(3)]
    assert [0.5, 1.0, 2.0] == waits


@pytest.mark.parametrize(
    "reason", [Reason.ACK_TIMEOUT, Reason.COMMAND_OUT_OF_ORDER, Reason.COUNTER_EXHAUSTED]
)
def test_stable_session_is_replaced_at_once_and_a_short_one_after_a_back_off(
    retry: Retry, reason: Reason
) -> None:
    retry.attempt_started(0.0)
    retry.established(1.0)
    assert 0.5 == end(retry, reason, 5.0)
    retry.attempt_started(6.0)
    retry.established(7.0)
    assert 0.0 == end(retry, reason, 7.0 + STABLE_S)


def test_notified_peer_is_deaf_for_the_pause_even_when_the_broker_returns(retry: Retry) -> None:
    retry.attempt_started(0.0)
    retry.established(1.0)
    assert 1.5 == end(retry, Reason.DISCONNECT_NOTIFIED, 50.0)
    retry.broker_came(50.1)
    retry.noticed_idle(50.2)
    assert 51.5 == retry.start_at


def test_returning_broker_ends_a_back_off(retry: Retry) -> None:
    for _ in range(5):
        end(retry, Reason.STEP_TIMEOUT, 10.0)
    retry.broker_came(10.5)
    assert 10.5 == retry.start_at


def test_peer_that_announces_itself_is_tried_promptly(retry: Retry) -> None:
    for _ in range(5):
        end(retry, Reason.STEP_TIMEOUT, 10.0)
    retry.noticed_idle(11.0)
    assert 11.0 <= retry.start_at <= 11.0 + NOTICE_DELAY_S


def test_prompt_attempt_that_nobody_heard_costs_the_trust(retry: Retry) -> None:
    retry.noticed_idle(11.0)
    retry.attempt_started(11.1)
    end(retry, Reason.STEP_TIMEOUT, 16.1, was_answered=False)
    retry.noticed_idle(16.2)
    assert 17.7 == pytest.approx(retry.start_at)
    retry.established(20.0)
    end(retry, Reason.BROKER_LOST, 40.0)
    retry.noticed_idle(41.0)
    assert retry.start_at < 41.5


def test_late_notification_while_waiting_for_the_first_answer_is_a_peer_that_came(
    retry: Retry,
) -> None:
    retry.attempt_started(0.0)
    assert end(retry, Reason.DISCONNECT_NOTIFIED, 3.0, was_answered=False) < 0.5


def test_prompt_refusal_means_a_pause(retry: Retry) -> None:
    retry.attempt_started(0.0)
    assert 1.5 == end(retry, Reason.DISCONNECT_NOTIFIED, 0.1, was_answered=False)


@pytest.fixture
def listened(retry: Retry) -> Retry:
    """Towards a peer that listens, with a session since 1.0."""
    retry.attempt_started(0.0)
    retry.listens = True
    retry.established(1.0)
    return retry


@pytest.mark.parametrize("was_up_s", [0.0, 5.0, 50.0])
def test_listening_peer_is_never_taken_for_deaf(listened: Retry, was_up_s: float) -> None:
    assert PROMPT_S >= end(listened, Reason.DISCONNECT_NOTIFIED, 1.0 + was_up_s)


def test_listening_peer_that_refuses_again_and_again_is_left_alone_for_longer(
    listened: Retry,
) -> None:
    now, waits = 100.0, []
    for _ in range(9):
        waits.append(end(listened, Reason.DISCONNECT_NOTIFIED, now, was_answered=False))
        now += waits[-1]
        listened.attempt_started(now)
    assert [0.05, 0.1, 0.2] == pytest.approx(waits[:3])
    assert PROMPT_MAX_S / 2 == pytest.approx(waits[-1])
    listened.established(now)
    assert PROMPT_S >= end(listened, Reason.DISCONNECT_NOTIFIED, now + PROMPT_STABLE_S)


def test_listening_peer_that_announces_itself_is_trusted_always(listened: Retry) -> None:
    for now in (50.0, 60.0, 70.0):
        end(listened, Reason.STEP_TIMEOUT, now, was_answered=False)
        listened.noticed_idle(now + 0.1)
        assert now + 0.1 <= listened.start_at <= now + 0.5


def test_announcement_never_puts_an_attempt_off(listened: Retry) -> None:
    listened.broker_came(50.0)
    listened.noticed_idle(50.1)
    assert 50.0 == listened.start_at


def test_peer_is_expected_until_a_connect_is_in_vain(listened: Retry) -> None:
    assert listened.is_expected
    end(listened, Reason.ACK_TIMEOUT, 50.0)
    assert listened.is_expected
    end(listened, Reason.STEP_TIMEOUT, 60.0, was_answered=False)
    assert not listened.is_expected
    listened.noticed_idle(61.0)
    assert listened.is_expected
    end(listened, Reason.STEP_TIMEOUT, 70.0, was_answered=False)
    listened.broker_came(71.0)
    assert listened.is_expected
