"""Who is announced while a session runs, beside those of its Connect (contract R12, R15, R16).

Pure. Devices that come later are invited, those in quarantine are tried a few at a time, and who
is missing for too long gets a DISCONNECT.
"""

from __future__ import annotations

from typing import Final

from module_gateway.external_client.backlog import Backlog
from module_gateway.external_client.effects import SessionEffect
from module_gateway.external_client.guest_list import GuestList
from module_gateway.external_client.retry import Retry
from module_gateway.external_client.session import Phase, Session
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Identity

MAX_PROBES: Final = 4
"""Quarantined devices that are tried at the same time."""


class Announcer:
    """Asks a session to announce devices, or to say that they are gone."""

    def __init__(self, backlog: Backlog, guest_list: GuestList, retry: Retry) -> None:
        self._backlog = backlog
        self._guest_list = guest_list
        self._quarantine = guest_list.quarantine
        self._retry = retry
        self._was_behind = False

    def invite(self, session: Session, identity: Identity, now: float) -> list[SessionEffect]:
        """Announce a device that the running session does not know yet."""
        if session.phase is not Phase.RUNNING or identity in self._quarantine:
            return []
        if session.sender.is_announced(identity) or self._backlog.waiting(identity):
            return []
        if not self._guest_list.has_news_of(identity) or self._guest_list.is_held_back(identity):
            return []
        if self._is_unasked(session, identity):
            return []
        return session.invite(self._guest_list.marker(identity), now, is_probe=False)

    def invite_missing(self, session: Session, now: float) -> list[SessionEffect]:
        """Announce everybody whom the session does not know yet."""
        effects: list[SessionEffect] = []
        for identity in self._guest_list.all():
            effects += self.invite(session, identity, now)
        return effects

    def probe(self, session: Session | None, now: float) -> list[SessionEffect]:
        """Try quarantined devices again, a few at a time (R16)."""
        effects: list[SessionEffect] = []
        for identity in self._quarantine.due(now):
            if not self._guest_list.has_news_of(identity):
                self._quarantine.release(identity)
                self._backlog.replay.unpark(identity)
                continue
            if session is None or session.phase is not Phase.RUNNING:
                break
            if session.sender.probes >= MAX_PROBES:
                break
            if not session.sender.is_announced(identity):
                self._quarantine.postpone(identity, now)
                marker = self._guest_list.marker(identity)
                effects += session.invite(marker, now, is_probe=True)
        return effects

    def say_gone(self, session: Session, identity: Identity, now: float) -> list[SessionEffect]:
        """It was missing for too long."""
        if not session.sender.is_announced(identity):
            return []
        self._backlog.hold_marker(session.sender.farewell(identity))
        return session.offer(identity, now)

    def follow_up(self, session: Session, now: float) -> list[SessionEffect]:
        """What the latest event makes due in a running session.

        A device whose replayed end was sent is announced again if it is registered now, and
        whoever was held back until the backlog was through. A fold of an announced device, which
        only travels in a new session, ends this one (R14), and so does one that only a new
        Connect makes certain.
        """
        effects: list[SessionEffect] = []
        departed = [each for each in session.sender.departed if self._backlog.replay.covers(each)]
        session.sender.departed.clear()
        for identity in departed:
            effects += self.invite(session, identity, now)
        was_behind, self._was_behind = self._was_behind, self._backlog.replay.is_behind
        if was_behind and not self._was_behind:
            effects += self.invite_missing(session, now)
        renewal_at = self.renewal_at(session)
        if renewal_at is not None and renewal_at <= now:
            effects += session.renew(Reason.FOLD_IN_SESSION)
        return effects

    def renewal_at(self, session: Session) -> float | None:
        """When the session is to be given up for a fold.

        At once for one that no Connect has asked for: a client gets those only where it begins.
        """
        if session.is_renewing:
            return None
        if any(self._is_unasked(session, each) for each in self._backlog.folds):
            return 0.0
        return self._retry.renewal_at if self.has_new_fold(session) else None

    def has_new_fold(self, session: Session) -> bool:
        """A fold of an announced device waits: it can only travel in a new session (R14)."""
        folds, sender = self._backlog.folds, session.sender
        return any(folds.accepts(each) and sender.is_announced(each) for each in folds) or any(
            sender.is_announced(each) for each in self._backlog.replay.folds()
        )

    def _is_unasked(self, session: Session, identity: Identity) -> bool:
        """Its fold was made of entries that an earlier client may have sent, some or all (R11).

        The control plane tells what it has of those whom a Connect lists: the next one does.
        """
        fold = self._backlog.folds.oldest(identity)
        if fold is None or fold.last in (fold.first, fold.indivisible):
            return False
        return not (identity in session.listed or identity in self._quarantine)
