"""The Connect of one session, said again to a peer that is known to listen (decisions: Recovery).

Pure. The existing external server takes a second Connect for a breach of the protocol, so it hears
each one once. A peer with the capability `listens` answers a repeated one like the first: a Connect
that nobody heard, because the broker was there before the control plane, costs no attempt.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from module_gateway.external_client.effects import Guest, Publish
from module_gateway.external_client.rules import Rules
from module_gateway.protocol.external import APPLIED_CAPABILITY, REPLAY_CAPABILITY, Connect

REPEAT_S: Final = 0.3
"""Between two Connects of one attempt that nobody answers (decisions: recovery within 0.5 s)."""

MOST_NOTICED: Final = 3
"""Repeats for the sake of notifications: a peer that goes on notifying refuses the session."""


def connect_for(session_id: str, guests: Iterable[Guest], rules: Rules) -> Connect:
    """What opens this session."""
    replay = (REPLAY_CAPABILITY,) if rules.replay_modules else ()
    devices = tuple(guest.device for guest in guests)
    words = (APPLIED_CAPABILITY, *replay)
    return Connect(session_id, rules.company, rules.vehicle, devices, words)


class Calling:
    """When a Connect is said, and said again.

    `again_at` (monotonic s): a repeat is due; None: never. Whoever hears the answer sets it so.

    Repeats in time are for a peer of whom there was news: the one that is away for long gets one
    Connect per attempt, since a long list of devices on a metered link is not free.
    """

    def __init__(self, connect: Connect, *, listens: bool, is_expected: bool) -> None:
        """`listens`: the peer had the capability; `is_expected`: it has just given a sign."""
        self.again_at: float | None = None
        self._publish = Publish(connect)
        self._is_repeated = listens and is_expected
        self._noticed_left = MOST_NOTICED if listens else 0

    def say(self, now: float) -> Publish:
        """Now, for the first time or again."""
        self.again_at = now + REPEAT_S if self._is_repeated else None
        return self._publish

    def due(self, now: float) -> list[Publish]:
        """The repeat that time has brought, if any."""
        return [self.say(now)] if self.again_at is not None and now >= self.again_at else []

    def noticed(self, now: float) -> list[Publish]:
        """The peer says that it is there: the repeat. Nothing: the notification is a refusal."""
        if not self._noticed_left:
            return []
        self._noticed_left -= 1
        return [self.say(now)]
