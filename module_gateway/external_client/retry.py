"""When an endpoint may try (again) to open a session (fleet-protocol 4.9, decisions "Recovery").

Pure. Two limits apply: `retry_at`, the back-off of this side, and `deaf_until`, the time during
which the peer is known not to listen. Only one number is kept per endpoint, so attempts are
deduplicated by construction (G-22, G-33).

A peer with the capability `listens` is not deaf after it has said that a session is over: it gets
the next Connect at once, so that telemetry is back 0.5 s after it has come (decisions).
"""

from __future__ import annotations

from typing import Final

from module_gateway.external_client.backoff import Backoff, Chance, Pause
from module_gateway.protocol.errors import Reason

NOTICE_DELAY_S: Final = 0.25
"""A peer that has just started gets its gateways spread over this time; recovery shall take less
than 0.5 s (decisions)."""

PROMPT_REFUSAL_S: Final = 1.0
"""A notification so soon after a Connect is its refusal by a peer that holds an older session;
a later one is a peer that has just come (fleet-protocol 4.9, case 46)."""

STABLE_S: Final = 10.0
"""A session that lasted so long ends the run of failures; also the least time between two
sessions that are given up for a fold (R14)."""

PROMPT_S: Final = 0.1
"""Gateways that a listening peer calls back are spread over this time; so short that recovery
still takes less than 0.5 s."""

PROMPT_MAX_S: Final = 10.0
"""Of a listening peer that ends one session after the other (fleet-protocol 4.9)."""

PROMPT_STABLE_S: Final = 2.0
"""A session that lasted so long was no such one."""

_GIVEN_UP: Final = frozenset(
    {
        Reason.ACK_TIMEOUT,
        Reason.COMMAND_OUT_OF_ORDER,
        Reason.WRONG_SESSION,
        Reason.COUNTER_EXHAUSTED,
        Reason.FOLD_IN_SESSION,
        Reason.BUFFER_PURGED,
        Reason.SEQUENCE_GAP,
    }
)
"""Ends of an established session that ask for a new one at once (fleet-protocol 4.9)."""


class Retry:
    """The clockwork of one endpoint's attempts.

    `listens`: the peer said so in its latest answer; remembered while it is away. `is_expected`:
    there was a sign of it or of its broker since the last Connect that nobody answered.
    """

    def __init__(self, backoff: Backoff, pause: Pause, chance: Chance) -> None:
        self._backoff, self._pause, self._chance = backoff, pause, chance
        self._prompt = Backoff(PROMPT_S, PROMPT_MAX_S, chance)
        self.listens = False
        self.is_expected = True
        self._retry_at = 0.0
        self._deaf_until = 0.0
        self._attempted_at = 0.0
        self._established_at: float | None = None
        self._renewal_at = 0.0
        self._trusts_notices = True
        self._is_prompted = False

    @property
    def start_at(self) -> float:
        """Not before."""
        return max(self._retry_at, self._deaf_until)

    @property
    def renewal_at(self) -> float:
        """A healthy session is not given up before."""
        return self._renewal_at

    def broker_came(self, now: float) -> None:
        """News: whatever was waited for, try now unless the peer is known to be deaf."""
        self.is_expected = True
        self._retry_at = now

    def attempt_started(self, now: float) -> None:
        """A Connect is published."""
        self._attempted_at = now
        self._established_at = None

    def established(self, now: float) -> None:
        """The sequence succeeded."""
        self._established_at = now
        self._renewal_at = now + STABLE_S
        self._trusts_notices = True
        self._is_prompted = False

    def noticed_idle(self, now: float) -> None:
        """The peer announced itself while no session was under way.

        A peer that has just started listens; the existing external server says the same before
        it goes deaf for a moment. So one prompt attempt, and if that is not heard, patience.
        """
        self.is_expected = True
        if now < self._deaf_until:
            return
        if self.listens:
            self._retry_at = min(self._retry_at, now + self._prompt.next())
        elif self._trusts_notices:
            self._is_prompted = True
            self._retry_at = now + NOTICE_DELAY_S * self._chance()
        else:
            self._deaf_until = now + self._pause.next()
            self._retry_at = min(self._retry_at, self._deaf_until)

    def ended(self, reason: Reason, now: float, *, was_answered: bool) -> None:
        """A session, or an attempt at one, is over."""
        was_up_s = None if self._established_at is None else now - self._established_at
        if was_up_s is not None and was_up_s >= STABLE_S:
            self._backoff.reset()
        if was_up_s is not None and was_up_s >= PROMPT_STABLE_S:
            self._prompt.reset()
        self.is_expected = was_answered or reason is not Reason.STEP_TIMEOUT
        if self._is_prompted and not was_answered and reason is not Reason.BROKER_LOST:
            self._trusts_notices = False
        self._is_prompted = False
        match reason:
            case Reason.SESSION_IDLE:
                self._backoff.reset()
                self._deaf_until = self._retry_at = now + self._pause.next()
            case Reason.DISCONNECT_NOTIFIED if self.listens:
                self._retry_at = now + self._prompt.next()
            case Reason.DISCONNECT_NOTIFIED:
                self._notified(now, was_up_s, was_answered=was_answered)
            case Reason.BROKER_LOST | Reason.SHUTDOWN | Reason.APPLIED_PARTLY:
                self._retry_at = now
            case _:
                is_stable = was_up_s is not None and was_up_s >= STABLE_S
                is_immediate = is_stable and reason in _GIVEN_UP
                self._retry_at = now if is_immediate else now + self._backoff.next()

    def _notified(self, now: float, was_up_s: float | None, *, was_answered: bool) -> None:
        is_prompt = now - self._attempted_at < PROMPT_REFUSAL_S
        if was_up_s is None and not was_answered and not is_prompt:
            # Nobody had heard the Connect: the peer has just come.
            self.noticed_idle(now)
            return
        self._deaf_until = now + self._pause.next()
        is_stable = was_up_s is not None and was_up_s >= STABLE_S
        wait_s = 0.0 if is_stable else self._backoff.next()
        self._retry_at = now + wait_s
