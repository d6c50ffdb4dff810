"""Every attempt of one device in nine bytes: when it was sent, and what became of it.

Memory: 8 bytes for the time and 1 for the state of each attempt that is not settled (and an
eighth more, because arrays grow ahead). Settled ones at the front are judged and forgotten; beyond
`window` attempts the oldest are judged as they stand.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from math import nan
from typing import Final

from fleet_lab.ledger.rules import MergeRule
from fleet_lab.ledger.tally import Tally

SENT: Final = 1
ANSWERED: Final = 2
SEEN: Final = 4
FOLDED: Final = 8
PUBLISHED: Final = 16
"""It was on the wire upstream in a session that ended before it was acknowledged."""

_UPSTREAM: Final = SEEN | FOLDED
BYTES_PER_ATTEMPT: Final = 9
LOST_UPSTREAM: Final = "lost_upstream"
"""Those of the lost that the gateway published: no word of the verdict, but it says where."""
TRIM_EVERY: Final = 256
MAX_JUMP: Final = 1 << 20
"""A number this far above the highest known is nobody's next attempt."""


class Attempts:
    """The attempts of one device, by number.

    Args:
        device: id for people.
        window: how many attempts are kept at most.
        is_tapped: whether anybody looks upstream; else an answer settles an attempt.
    """

    __slots__ = ("_base", "_is_tapped", "_sent", "_state", "_window", "device", "highest", "rule")

    def __init__(self, device: str, rule: MergeRule, window: int, *, is_tapped: bool) -> None:
        self.device = device
        self.rule = rule
        self.highest = 0
        """Highest number that was sent."""
        self._base = 1
        self._sent = array("d")
        self._state = bytearray()
        self._window = window
        self._is_tapped = is_tapped

    @property
    def oldest(self) -> int:
        """Lowest number that is not judged yet."""
        return self._base

    def __len__(self) -> int:
        return len(self._state)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(number, state) of every attempt that is not judged yet."""
        return enumerate(self._state, self._base)

    def mark_sent(self, number: int, sent_s: float) -> bool:
        """False: the number was used before, or is no number for a next attempt."""
        if not self.highest < number <= self.highest + MAX_JUMP:
            return False
        missing = number - self._base - len(self._state)
        if missing > 0:
            self._sent.extend([nan] * missing)
            self._state.extend(bytes(missing))
        self._sent.append(sent_s)
        self._state.append(SENT)
        self.highest = number
        return True

    def sent_s(self, number: int) -> float:
        """When it was sent; NaN for one that was not, or that was judged already."""
        index = number - self._base
        return self._sent[index] if 0 <= index < len(self._sent) else nan

    def state(self, number: int) -> int:
        """Its bits; a judged one counts as done."""
        index = number - self._base
        if index < 0:
            return SENT | ANSWERED | SEEN
        return self._state[index] if index < len(self._state) else 0

    def mark(self, number: int, bits: int) -> None:
        """Set bits of an attempt that is not judged yet."""
        index = number - self._base
        if 0 <= index < len(self._state):
            self._state[index] |= bits

    def unmark(self, number: int, bits: int) -> None:
        """Take bits of an attempt back that is not judged yet."""
        index = number - self._base
        if 0 <= index < len(self._state):
            self._state[index] &= ~bits

    def count_between(self, first: int, last: int) -> tuple[int, int]:
        """How many of these were (answered, sent but not answered)."""
        states = self._state[max(first - self._base, 0) : max(last - self._base + 1, 0)]
        answered = sum(1 for state in states if state & ANSWERED)
        sent = sum(1 for state in states if state & SENT)
        return answered, sent - answered

    def is_trim_due(self) -> bool:
        """Now and then, so that looking costs nothing per attempt."""
        return len(self._state) % TRIM_EVERY == 0

    def settled(self, last_seen: int, last_seen_s: float) -> int:
        """How many at the front need no more news, or have no room any longer.

        Args:
            last_seen: newest number that was seen upstream (EACH, LATEST).
            last_seen_s: when something was last seen (ORDERED).
        """
        count = max(len(self._state) - self._window, 0)
        while count < len(self._state) - 1 and self._is_settled(count, last_seen, last_seen_s):
            count += 1
        return count

    def trim(self, count: int) -> None:
        """Forget the oldest, which are judged."""
        del self._sent[:count]
        del self._state[:count]
        self._base += count

    def tally(self, count: int, last_seen: int, last_seen_s: float, tally: Tally) -> None:
        """Judge the oldest `count` attempts; `last_seen` and `last_seen_s` as in `settled`."""
        for index in range(count):
            state = self._state[index]
            if state:
                self._judge(index, state, last_seen, last_seen_s, tally)

    def _is_settled(self, index: int, last_seen: int, last_seen_s: float) -> bool:
        state = self._state[index]
        if not state:
            return True
        if not state & ANSWERED:
            return False
        return not self._is_tapped or self._is_upstream(index, last_seen, last_seen_s)

    def _is_upstream(self, index: int, last_seen: int, last_seen_s: float) -> bool:
        """Seen, folded or superseded."""
        if self._state[index] & _UPSTREAM:
            return True
        match self.rule:
            case MergeRule.LATEST:
                return self._base + index < last_seen
            case MergeRule.ORDERED:
                return self._sent[index] <= last_seen_s
            case MergeRule.EACH:
                return False

    def _judge(
        self, index: int, state: int, last_seen: int, last_seen_s: float, tally: Tally
    ) -> None:
        number = self._base + index
        is_answered = bool(state & ANSWERED)
        if not is_answered:
            tally.add("in_doubt")
        if not self._is_tapped:
            return
        if state & SEEN:
            tally.add("seen")
        elif state & FOLDED:
            tally.add("folded")
        elif not is_answered:
            return
        elif self._is_upstream(index, last_seen, last_seen_s):
            tally.add("superseded")
        elif state & PUBLISHED:
            explanation = "answered and published, but never acknowledged upstream"
            tally.blame("lost", self.device, number, explanation)
            tally.add(LOST_UPSTREAM)
        else:
            tally.blame("lost", self.device, number, "answered, but never seen upstream")
