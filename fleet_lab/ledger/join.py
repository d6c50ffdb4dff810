"""One device: its attempts joined with what the control plane applied of them.

Pure. A status of attempt `n` is expected once and after all with lower numbers. A CONNECTING
status with an error aggregate accounts for every attempt up to its own that nothing accounted for
before. A gateway repeats the last status as heartbeat, at the start and at the end of a
registration (fleet-protocol 3.6, 4.8): such a *marker* is nobody's duplicate.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf, isnan
from typing import Final

from fleet_lab.ledger.attempts import ANSWERED, FOLDED, PUBLISHED, SEEN, SENT, Attempts
from fleet_lab.ledger.events import Upstream
from fleet_lab.ledger.rules import MergeRule, statuses_in_fold
from fleet_lab.ledger.sessions import Applied
from fleet_lab.ledger.tally import Tally
from module_gateway.protocol.external import DeviceState
from module_gateway.protocol.identity import Identity

MARKER_QUIET_S: Final = 0.9
"""A heartbeat comes after at least this much silence: the shortest known period is the first
Python gateway's 1 s in a container (fleet-protocol 3.6). Only for gateways without positions."""

PATIENCE_S: Final = 5.0
"""A worker may tell of a send this much later than the tap of its arrival upstream."""

MAX_WAITING: Final = 10_000


@dataclass(frozen=True, slots=True)
class Fold:
    """An error aggregate that says how many statuses it holds."""

    first: int
    last: int
    stragglers: tuple[int, ...]
    """Numbers below `first` that were published, but not acknowledged, before."""
    total: int
    may_repeat: int
    """So many more may be in it, because their acknowledgements may not have arrived."""


class DeviceJoin:
    """What is known of one device. `tally` collects what cannot change any more."""

    __slots__ = (
        "_applied_before",
        "_applied_now",
        "_at_session_start",
        "_beats",
        "_folds",
        "_has_positions",
        "_last",
        "_last_replayed",
        "_last_s",
        "_merged",
        "_news",
        "_session",
        "_tally",
        "_waiting",
        "attempts",
        "identity",
    )  # fmt: skip

    def __init__(self, attempts: Attempts, identity: Identity, tally: Tally) -> None:
        self.attempts = attempts
        self.identity = identity
        self._tally = tally
        self._last = 0
        self._last_s = -inf
        self._last_replayed = 0
        self._session = ""
        self._at_session_start = 0
        self._applied_now = 0
        self._applied_before = 0
        self._has_positions = False
        self._news = 0
        self._beats = 0
        self._merged = 0
        self._folds: list[Fold] = []
        self._waiting: deque[tuple[Applied, bool]] = deque()

    # From the device

    def sent(self, number: int, sent_s: float) -> bool:
        """False: a number that cannot be."""
        if not self.attempts.mark_sent(number, sent_s):
            return False
        if self._waiting:
            self._take_waiting(sent_s)
        if self.attempts.is_trim_due():
            self._trim(self._tally)
        return True

    def answered(self, number: int) -> bool:
        """False: nothing with this number waits for an answer."""
        if self.attempts.state(number) & (SENT | ANSWERED) != SENT:
            return False
        self.attempts.mark(number, ANSWERED)
        return True

    # From upstream

    def applied(self, event: Applied, *, is_misdelivered: bool = False) -> None:
        """The control plane has applied a status of this device (or one written by it)."""
        self._waiting.append((event, is_misdelivered))
        self._take_waiting(event.upstream.at_s)

    def unconfirmed(self, upstream: Upstream) -> None:
        """A session ended and nobody knows whether this was applied."""
        if upstream.number is not None:
            self.attempts.mark(upstream.number, PUBLISHED)

    def flush(self) -> None:
        """No send will be told any more: what is unknown now is a phantom."""
        self._take_waiting(inf)

    def tally_rest(self, tally: Tally) -> None:
        """Add the verdict on all that is not in the common tally yet; may be asked repeatedly."""
        left_out = [number for fold in self._folds for number in self._judge_fold(fold, tally)]
        for number in left_out:
            self.attempts.unmark(number, FOLDED)
        before = tally.counts["superseded"]
        self.attempts.tally(len(self.attempts), self._last, self._last_s, tally)
        for number in left_out:
            self.attempts.mark(number, FOLDED)
        if self.attempts.rule is MergeRule.ORDERED:
            self._count_ordered(tally, tally.counts["superseded"] - before)

    def age_of_news_s(self, upstream: Upstream) -> float | None:
        """From send to sight of an attempt that was not seen before; None for anything else."""
        number = upstream.number
        if number is None or self.attempts.state(number) & SEEN:
            return None
        sent_s = self.attempts.sent_s(number)
        return None if isnan(sent_s) else upstream.at_s - sent_s

    # How

    def _take_waiting(self, now_s: float) -> None:
        while self._waiting:
            event, is_misdelivered = self._waiting[0]
            number = event.upstream.number
            is_known = number is None or number <= self.attempts.highest
            is_hopeless = now_s - event.upstream.at_s > PATIENCE_S
            if not is_known and not is_hopeless and len(self._waiting) < MAX_WAITING:
                return
            self._waiting.popleft()
            if is_misdelivered:
                self._locate(number)
            elif self.attempts.rule is MergeRule.ORDERED:
                self._apply_ordered(event.upstream)
            elif number is None or not self._is_sent(number):
                self._blame("phantom", number, "seen upstream, but no attempt of the device")
            else:
                self._apply(event, number)

    def _is_sent(self, number: int) -> bool:
        return 1 <= number <= self.attempts.highest and bool(self.attempts.state(number))

    def _locate(self, number: int | None) -> None:
        """It arrived under another identity: counted there, and not lost here."""
        if number is not None and number <= self.attempts.highest:
            self.attempts.mark(number, SEEN)

    def _apply(self, event: Applied, number: int) -> None:
        upstream = event.upstream
        if upstream.session != self._session:
            self._session = upstream.session
            self._at_session_start = self._last
            self._applied_before, self._applied_now = self._applied_now, 0
        self._has_positions = self._has_positions or upstream.position is not None
        is_fold = upstream.is_connecting and upstream.error is not None
        state = self.attempts.state(number)
        if upstream.is_replayed:
            self._apply_replayed(number, state)
        elif number > self._last or not state & (SEEN | FOLDED):
            self._apply_news(event, number, is_fold=is_fold)
        elif is_fold and number == self._last:
            self._fold(event, number)
        elif not self._is_marker(upstream, number):
            self._apply_again(number)
        self._last_s = max(self._last_s, upstream.at_s)

    def _apply_news(self, event: Applied, number: int, *, is_fold: bool) -> None:
        if is_fold:
            self._fold(event, number)
        elif number < self._last and not self.attempts.state(number) & PUBLISHED:
            self._blame("reordered", number, f"seen upstream after attempt {self._last}")
        self.attempts.mark(number, SEEN)
        self._last = max(self._last, number)
        self._applied_now += 1

    def _apply_again(self, number: int) -> None:
        if number <= self._at_session_start:
            self._blame("upstream_repeat", number, "delivered again in a later session")
        else:
            self._blame("duplicated", number, "applied more than once")

    def _apply_replayed(self, number: int, state: int) -> None:
        """Replay follows in its own order beside the live statuses (contract R18)."""
        if state & SEEN:
            self._apply_again(number)
        elif number < self._last_replayed:
            self._blame("reordered", number, f"replayed after attempt {self._last_replayed}")
        self.attempts.mark(number, SEEN)
        self._last_replayed = max(self._last_replayed, number)
        self._last = max(self._last, number)

    def _is_marker(self, upstream: Upstream, number: int) -> bool:
        if number != self._last:
            return False
        if upstream.state != DeviceState.RUNNING:
            return True
        if self._has_positions:
            return upstream.position is None
        return upstream.at_s - self._last_s >= MARKER_QUIET_S

    def _fold(self, event: Applied, number: int) -> None:
        upstream = event.upstream
        stragglers = tuple(
            n for n in range(self.attempts.oldest, min(self._last, number) + 1)
            if self.attempts.state(n) & (PUBLISHED | SEEN | FOLDED) == PUBLISHED
        )  # fmt: skip
        for each in (*stragglers, *range(self._last + 1, number + 1)):
            self.attempts.mark(each, FOLDED)
        total = statuses_in_fold(self.identity.module, upstream.error or b"")
        if total is not None:
            may_repeat = 0 if event.is_peer_exact else self._applied_before
            self._folds.append(Fold(self._last + 1, number, stragglers, total, may_repeat))

    def _judge_fold(self, fold: Fold, tally: Tally) -> list[int]:
        """Whether its count is right; gives the numbers that are not in it after all."""
        answered, doubtful = self.attempts.count_between(fold.first, fold.last)
        left_out = self._left_out(fold, answered)
        for number in fold.stragglers:
            is_answered = bool(self.attempts.state(number) & ANSWERED)
            answered += is_answered and number not in left_out
            doubtful += not is_answered
        surplus = fold.total - answered - doubtful
        device = self.attempts.device
        if 0 < surplus <= fold.may_repeat:
            explanation = f"an aggregate holds {surplus} more, after an ambiguous break"
            tally.blame("upstream_repeat", device, fold.last, explanation, surplus)
        elif surplus > 0 or fold.total < answered:
            expected = f"{answered}" if not doubtful else f"{answered} to {answered + doubtful}"
            explanation = f"an aggregate says {fold.total}, it covers {expected}"
            tally.blame("miscounted", device, fold.last, explanation)
        return left_out

    def _left_out(self, fold: Fold, answered: int) -> list[int]:
        """The oldest stragglers, as far as the aggregate has no room for them."""
        room = fold.total - answered
        answered_stragglers = [
            number for number in fold.stragglers if self.attempts.state(number) & ANSWERED
        ]
        if room < 0:
            return []
        return answered_stragglers[: max(len(answered_stragglers) - room, 0)]

    def _apply_ordered(self, upstream: Upstream) -> None:
        """News, or a repetition of the last status; after silence it may be either."""
        self._has_positions = self._has_positions or upstream.position is not None
        is_first = self._last_s == -inf
        if is_first or self._is_news_in_order(upstream):
            self._news += 1
        elif upstream.state == DeviceState.RUNNING and not self._has_positions:
            self._beats += 1
        self._last_s = max(self._last_s, upstream.at_s)

    def _is_news_in_order(self, upstream: Upstream) -> bool:
        if upstream.state != DeviceState.RUNNING:
            return False
        if self._has_positions:
            return upstream.position is not None
        return upstream.at_s - self._last_s < MARKER_QUIET_S

    def _count_ordered(self, tally: Tally, just_merged: int) -> None:
        """Nobody knows which ones were seen, only how many."""
        merged = self._merged + just_merged
        seen = min(self._news + self._beats, merged)
        tally.add("seen", seen)
        tally.add("superseded", merged - seen - just_merged)
        surplus = self._news - self.attempts.highest
        if surplus > 0 and self.attempts.highest:
            explanation = f"{self._news} seen upstream of {self.attempts.highest} attempts"
            tally.blame("duplicated", self.attempts.device, None, explanation, surplus)
        elif surplus > 0:
            explanation = "seen upstream, but the device sent nothing"
            tally.blame("phantom", self.attempts.device, None, explanation, surplus)

    def _trim(self, tally: Tally) -> None:
        count = self.attempts.settled(self._last, self._last_s)
        if not count:
            return
        end = self.attempts.oldest + count
        for fold in [fold for fold in self._folds if fold.first < end]:
            for number in self._judge_fold(fold, tally):
                self.attempts.unmark(number, FOLDED)
            self._folds.remove(fold)
        before = tally.counts["superseded"]
        self.attempts.tally(count, self._last, self._last_s, tally)
        self.attempts.trim(count)
        if self.attempts.rule is MergeRule.ORDERED:
            self._merged += tally.counts["superseded"] - before
            tally.counts["superseded"] = before

    def _blame(self, word: str, number: int | None, explanation: str) -> None:
        self._tally.blame(word, self.attempts.device, number, explanation)
