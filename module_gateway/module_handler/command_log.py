"""Which commands of a session were judged, and how (contract R19).

Pure. The external client repeats a command until it hears the verdict; the handler judges each
once. One log per endpoint, for the newest session of the newest epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Identity

MAX_VERDICTS: Final = 1_024
"""Per session. The client repeats only what is unanswered, and the control plane has far fewer
commands open (the existing one queues 20, fleet-protocol 1.5)."""

_COUNTERS: Final = 2**32
"""Command counters wrap (fleet-protocol 4.5)."""


class Verdict(NamedTuple):
    """What was answered to one command; `response` is a CommandResponse number."""

    epoch: int
    session: int
    counter: int
    identity: Identity
    response: int


@dataclass(frozen=True, slots=True)
class Fresh:
    """Never seen: judge it and record the verdict."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """Judged before: answer the same."""

    response: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """Answer nothing: it belongs to a session that is over."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Overtaken:
    """A newer command of this session for this device is stored.

    An old START must not follow a new STOP.
    """


Finding: TypeAlias = Fresh | Repeated | Dropped | Overtaken


class CommandLog:
    """The verdicts of one endpoint's newest session."""

    __slots__ = ("_position", "_verdicts")

    def __init__(self) -> None:
        self._position = (0, 0)
        self._verdicts: dict[int, Verdict] = {}

    def look_up(self, epoch: int, session: int, counter: int, identity: Identity) -> Finding:
        """What is known of a forwarded command. A newer session begins an empty log."""
        position = (epoch, session)
        if position < self._position:
            return Dropped(Reason.COMMAND_STALE_SESSION)
        if position > self._position:
            return Fresh()
        known = self._verdicts.get(counter)
        if known is not None:
            return Repeated(known.response)
        for verdict in self._verdicts.values():
            if verdict.identity == identity and _is_behind(counter, verdict.counter):
                return Overtaken()
        return Fresh()

    def record(self, verdict: Verdict) -> None:
        """Remember a verdict. One of a newer session makes all older ones void."""
        position = (verdict.epoch, verdict.session)
        if position > self._position:
            self._position = position
            self._verdicts.clear()
        self._verdicts[verdict.counter] = verdict
        if len(self._verdicts) > MAX_VERDICTS:
            del self._verdicts[next(iter(self._verdicts))]


def _is_behind(counter: int, other: int) -> bool:
    """Serial number arithmetic: `counter` was given out before `other`."""
    return 0 < (other - counter) % _COUNTERS < _COUNTERS // 2
