"""Whom a Connect lists, in which order, and whom it leaves out (fleet-protocol 4.4, R15, R16).

Pure. Registered devices and devices with undelivered folds or entries are invited, each once;
those that the control plane does not know are in quarantine.
"""

from __future__ import annotations

from collections.abc import Iterable

from module_gateway.external_client.backlog import Backlog
from module_gateway.external_client.effects import Confined, Count, Effect, Guest
from module_gateway.external_client.entries import Entry
from module_gateway.external_client.quarantine import Quarantine
from module_gateway.external_client.roster import Roster
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Identity


class GuestList:
    """Who may be announced to one control plane."""

    def __init__(self, roster: Roster, backlog: Backlog, quarantine: Quarantine) -> None:
        self.roster = roster
        self.quarantine = quarantine
        self._folds = backlog.folds
        self._replay = backlog.replay
        self._proven: set[Identity] = set()
        self._rotation = 0
        self._has_failed = False

    def has_news_of(self, identity: Identity) -> bool:
        """Registered, or with a fold or entries that were not delivered."""
        return any(identity in each for each in (self.roster, self._folds, self._replay))

    def is_reportable(self, now: float) -> bool:
        """Whether there is anything to report (R15): without it no Connect is published."""
        return (
            any(
                each not in self.quarantine and not self.roster.is_behind(each)
                for each in self.roster
            )
            or any(each not in self.quarantine for each in self._folds)
            or any(each not in self.quarantine for each in self._replay)
            or any(self.has_news_of(each) for each in self.quarantine.due(now))
        )

    def all(self) -> list[Identity]:
        """Everybody whom a session should know, each once, without those in quarantine."""
        everybody = dict.fromkeys((*self.roster, *self._folds, *self._replay))
        return [
            each
            for each in everybody
            if each not in self.quarantine and not self.is_held_back(each)
        ]

    def is_held_back(self, identity: Identity) -> bool:
        """Its current status might overtake older ones that its handler has not delivered (R18).

        Not, with replay, after the control plane has accepted none of the others: it may know
        this one only.
        """
        if self.roster.is_behind(identity):
            return identity not in self._folds
        replay = self._replay
        is_late = replay.is_behind and replay.covers(identity) and identity not in replay
        return is_late and not self._has_failed

    def guests(self, now: float) -> tuple[Guest, ...]:
        """The list of a Connect.

        Devices that this control plane has accepted before come first and the others change
        places after each failure: it stops at the first status of a module that it does not know.
        Quarantined devices are tried this way only when there is nobody else.
        """
        invited = self.all()
        if not invited:
            invited = [each for each in self.quarantine.due(now) if self.has_news_of(each)]
        proven = [each for each in invited if each in self._proven]
        others = [each for each in invited if each not in self._proven]
        if others:
            turn = self._rotation % len(others)
            others = others[turn:] + others[:turn]
        return tuple(self._guest(each) for each in (*proven, *others))

    def marker(self, identity: Identity) -> Entry:
        """A marker that announces a device which `has_news_of` names."""
        guest = self._guest(identity)
        return Entry(guest.device, guest.status)

    def accepted(self, identity: Identity) -> None:
        """The control plane acknowledged its CONNECTING."""
        self._proven.add(identity)
        self.quarantine.release(identity)

    def confine(self, identities: Iterable[Identity], now: float) -> list[Effect]:
        """The control plane acknowledged others, but not these."""
        effects: list[Effect] = []
        for identity in identities:
            self._proven.discard(identity)
            self.quarantine.confine(identity, now)
            effects += [Count(Reason.QUARANTINED), Confined(identity)]
        return effects

    def session_ended(self, *, has_accepted: bool, was_answered: bool = False) -> None:
        """Remember what the next list should do better."""
        self._has_failed = (self._has_failed or was_answered) and not has_accepted
        if not has_accepted:
            self._rotation += 1
        self._proven &= {*self.roster, *self._folds, *self._replay}

    def _guest(self, identity: Identity) -> Guest:
        if identity in self.roster:
            marker = self.roster.marker(identity)
            return Guest(marker.device, marker.status)
        news = self._folds.oldest(identity) or self._replay.newest(identity)
        if news is None:
            raise KeyError(identity)
        return Guest(news.device, news.status)
