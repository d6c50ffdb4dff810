"""The life of one endpoint: when to open a session, with whom, and what its end means.

Pure: events in, effects out, time and chance as arguments. It owns the ledger, the leases and at
most one session. Sources: fleet-protocol 4.4-4.9, contract R10-R17, decisions "Recovery".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Final, assert_never

from module_gateway.external_client.announcer import MAX_PROBES, Announcer
from module_gateway.external_client.backlog import Backlog
from module_gateway.external_client.effects import (
    Accepted,
    Count,
    Effect,
    Ended,
    Established,
    Expose,
    Forward,
    Publish,
    SessionEffect,
    SessionEnded,
    SessionUp,
    Stopped,
    Superseded,
    Tell,
    Unknown,
)
from module_gateway.external_client.entries import Entry
from module_gateway.external_client.events import (
    BrokerDown,
    BrokerUp,
    Event,
    HandlerLost,
    HandlerSaid,
    HandlerUp,
    Heard,
    LinkUp,
    Noticed,
    StopAsked,
    Tick,
)
from module_gateway.external_client.guest_list import GuestList
from module_gateway.external_client.leases import Granted, Leases, Registered, Voided
from module_gateway.external_client.preparation import Preparation
from module_gateway.external_client.quarantine import Quarantine
from module_gateway.external_client.retry import Retry
from module_gateway.external_client.roster import Roster
from module_gateway.external_client.rules import Rules, Verdict
from module_gateway.external_client.session import UP, Phase, Session
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Identity

KNOWN_SESSIONS: Final = 16
"""Session ids that are remembered, to tell stale messages from a stranger's."""


class Endpoint:
    """One control plane, the modules that report to it, and everything in between."""

    def __init__(
        self,
        leases: Leases,
        rules: Rules,
        retry: Retry,
        quarantine: Quarantine,
        new_session_id: Callable[[], str],
        absence_s: float = 30.0,
    ) -> None:
        """`new_session_id` draws 8 of `[0-9a-zA-Z]` (fleet-protocol D10, E3)."""
        self.backlog: Final = Backlog(rules.modules, rules.replay_modules, rules.lane_window)
        self.leases: Final = leases
        self.roster: Final = Roster(absence_s)
        self.guest_list: Final = GuestList(self.roster, self.backlog, quarantine)
        self.quarantine: Final = quarantine
        self.session: Session | None = None
        self._announcer = Announcer(self.backlog, self.guest_list, retry)
        self._rules = rules
        self.retry: Final = retry
        self._new_session_id = new_session_id
        self._session_number = 0
        self._session_ids: list[str] = []
        self._preparation: Preparation | None = None
        self._is_broker_up = False
        self._is_stopping = False
        self._unix_ms = 0

    # What the shell asks

    @property
    def is_up(self) -> bool:
        """A session is established."""
        return self.session is not None and self.session.phase in UP

    def next_deadline(self) -> float | None:
        """When a `Tick` is due; None when nothing waits for time."""
        times = [self.leases.next_retry(), self.roster.next_absence()]
        if self.session is not None:
            times.append(self.session.next_deadline())
            if self.session.phase is Phase.RUNNING:
                if self.session.sender.probes < MAX_PROBES:
                    times.append(self.quarantine.next_due())
                times.append(self._announcer.renewal_at(self.session))
        elif self._preparation is not None:
            times.append(self._preparation.deadline)
        elif self._is_broker_up and not self._is_stopping:
            start_at = self.retry.start_at
            if self.guest_list.is_reportable(start_at):
                times.append(start_at)
            else:
                times.append(self.quarantine.next_due())
        return min((each for each in times if each is not None), default=None)

    def step(self, events: Iterable[Event], now: float, unix_ms: int = 0) -> list[Effect]:
        """Take the events of one moment in; give what is to be done, in this order.

        `unix_ms` is the wall time, which only tells what is older than a session (R18).
        """
        self._unix_ms = unix_ms
        effects: list[Effect] = []
        for event in events:
            effects += self._take(event, now)
        effects += self._follow_up(now)
        effects += self._open(now)
        effects += self._flush()
        if self.backlog.replay.needs_lease:
            self.backlog.replay.needs_lease = False
            effects += self.leases.resync(now)
        return effects

    # Events

    def _take(  # noqa: C901, PLR0911, PLR0912  # a table, one row per event
        self, event: Event, now: float
    ) -> list[Effect]:
        match event:
            case HandlerSaid(peer, messages):
                return self._handler_said(peer, messages, now)
            case Heard(message):
                if self.session is None:
                    return [Count(Reason.WRONG_SESSION)]
                return self._apply(self.session, self.session.hear(message, now), now)
            case Tick():
                return self._tick(now)
            case Noticed():
                return self._noticed(now)
            case BrokerUp():
                self._is_broker_up = True
                self.retry.broker_came(now)
                return []
            case BrokerDown():
                self._is_broker_up = False
                self._preparation = None
                return self._end(Reason.BROKER_LOST, now)
            case HandlerUp(peer, presence):
                return [*self.leases.handler_up(peer, presence, now)]
            case HandlerLost(peer):
                if self.leases.handler_lost(peer):
                    self.roster.lose(peer, now)
                    if self._preparation is not None:
                        self._preparation.lost(peer)
                return []
            case LinkUp():
                return [*self.leases.link_up(now)]
            case StopAsked():
                return self._stop(now)
            case _:
                assert_never(event)

    def _tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = [*self.leases.tick(now)]
        session = self.session
        if session is not None:
            effects += self._apply(session, session.tick(now), now)
        for identity in self.roster.gone(now):
            if (session := self.session) is not None:
                asked = self._announcer.say_gone(session, identity, now)
                effects += self._apply(session, asked, now)
        probes = self._announcer.probe(self.session, now)
        return effects if self.session is None else effects + self._apply(self.session, probes, now)

    def _noticed(self, now: float) -> list[Effect]:
        session = self.session
        if session is None:
            self.retry.noticed_idle(now)
            return []
        if repeated := session.noticed(now):
            return self._apply(session, repeated, now)
        effects: list[Effect] = []
        is_judging = session.phase is Phase.AWAIT_STATUSES and not session.listens
        if is_judging and session.accepted_guests:
            # It gave up at the first one that it does not know (fleet-protocol 4.4).
            effects = self._confine(session.unacknowledged_guests[:1], now)
        return effects + self._end(Reason.DISCONNECT_NOTIFIED, now)

    def _stop(self, now: float) -> list[Effect]:
        self._is_stopping = True
        self._preparation = None
        if self.session is None:
            return [Stopped()]
        return self._apply(self.session, self.session.stop(now), now)

    # Handlers

    def _handler_said(
        self, peer: int, messages: Sequence[bus_pb2.Message], now: float
    ) -> list[Effect]:
        effects: list[Effect] = []
        # Each is read after the one before it was taken: that may have ended the lease.
        for event in chain.from_iterable(self.leases.receive(peer, each, now) for each in messages):
            match event:
                case Entry():
                    effects += self._delivered(event, now)
                case Granted(_, store_id):
                    effects += self._granted(store_id, now)
                case Registered():
                    effects += self._registered(event, now)
                case Voided():
                    effects += self._voided(now)
                case Verdict():
                    if self.session is None:
                        effects.append(Count(Reason.COMMAND_STALE_SESSION))
                    else:
                        decided = self.session.decide(event, now)
                        effects += self._apply(self.session, decided, now)
                case Count() | Tell() | Superseded():
                    effects.append(event)
                case _:
                    assert_never(event)
        return effects

    def _granted(self, store_id: int, now: float) -> list[Effect]:
        is_broken = self.backlog.replay.handler_began(store_id)
        session = self.session
        if session is None or not session.is_exposed:
            return []
        effects: list[Effect] = [
            *self.leases.tell_phase(
                session.number, is_exposed=True, splits_live=session.splits_live
            )
        ]
        if is_broken:
            effects += self._apply(session, session.renew(Reason.SEQUENCE_GAP), now)
        return effects

    def _voided(self, now: float) -> list[Effect]:
        """Keep nothing of what an operator may have purged: end, forget, ask for what is left."""
        self._preparation = None
        effects = self._end(Reason.BUFFER_PURGED, now) + self._flush()
        self.backlog.forget_all()
        return [*effects, *self.leases.resync(now)]

    def _delivered(self, entry: Entry, now: float) -> list[Effect]:
        identity = entry.identity
        is_replaying = self.backlog.replay.covers(identity)
        if not is_replaying or not self.backlog.replay.is_overtaken(entry):
            self.roster.note(entry)
        session = self.session
        is_live = session is not None and identity not in self.quarantine
        if entry.is_marker:
            if not is_live or session is None or session.phase is not Phase.RUNNING:
                self.backlog.drop(entry)
                return []
            is_waiting = self.backlog.hold_marker(entry)
            return self._apply(session, session.offer(identity, now), now) if is_waiting else []
        if self._preparation is not None and not is_replaying:
            self._preparation.entry_arrived()
        is_waiting = self.backlog.receive(entry, is_live=is_live)
        if session is None or not is_waiting:
            return self._invite(identity, now)
        return self._apply(session, session.offer(identity, now), now)

    def _registered(self, registered: Registered, now: float) -> list[Effect]:
        self.roster.replace(registered.peer, registered.devices, now, registered.behind)
        effects: list[Effect] = []
        if self._preparation is not None:
            effects += self._preparation.answered(registered)
        for device, _ in registered.devices:
            effects += self._invite(device.identity, now)
        return effects

    # Opening a session

    def _open(self, now: float) -> list[Effect]:
        if self.session is not None or self._is_stopping or not self._is_broker_up:
            return []
        if self._preparation is None:
            if now < self.retry.start_at or not self.guest_list.is_reportable(now):
                return []
            self._preparation = Preparation(self.leases, now)
            asked: list[Effect] = [*self._preparation.ask(now)]
            return asked + self._open(now) if self._preparation.is_round_over(now) else asked
        if not self._preparation.is_round_over(now):
            return []
        if self._preparation.needs_another_round(now):
            return [*self._preparation.ask(now)]
        self._preparation = None
        return self._begin(now)

    def _begin(self, now: float) -> list[Effect]:
        guests = self.guest_list.guests(now)
        if not guests:
            return []
        session_id = self._new_session_id()
        stale = frozenset(self._session_ids)
        self._session_ids = [*self._session_ids[1 - KNOWN_SESSIONS :], session_id]
        self._session_number += 1
        session = self.session = Session(
            self._session_number, session_id, guests, self.backlog, self._rules, stale,
            listens=self.retry.listens, is_expected=self.retry.is_expected,
        )  # fmt: skip
        self.retry.attempt_started(now)
        return self._apply(session, session.start(now), now)

    # While a session is up

    def _invite(self, identity: Identity, now: float) -> list[Effect]:
        session = self.session
        if session is None:
            return []
        return self._apply(session, self._announcer.invite(session, identity, now), now)

    def _follow_up(self, now: float) -> list[Effect]:
        session = self.session
        if session is None or session.phase is not Phase.RUNNING:
            return []
        return self._apply(session, self._announcer.follow_up(session, now), now)

    # What a session asks

    def _apply(self, session: Session, asked: list[SessionEffect], now: float) -> list[Effect]:
        effects: list[Effect] = []
        for effect in asked:
            match effect:
                case Publish() | Count():
                    effects.append(effect)
                case Forward(number, command):
                    effects += self.leases.forward(
                        number, command.counter, command.device, command.command
                    )
                case Expose(number):
                    self.retry.listens = session.listens
                    self.backlog.replay.session_began(self._unix_ms)
                    effects += self.leases.tell_phase(
                        number, is_exposed=True, splits_live=session.splits_live
                    )
                case Accepted(identity):
                    self.guest_list.accepted(identity)
                    self.backlog.replay.unpark(identity)
                case Unknown(identity):
                    effects += self._confine((identity,), now)
                case Established(devices):
                    self.retry.established(now)
                    effects.append(SessionUp(session.number, devices))
                    missing = self._announcer.invite_missing(session, now)
                    effects += self._apply(session, missing, now)
                case Ended(reason):
                    effects += self._ended(session, reason, now)
                case _:
                    assert_never(effect)
        return effects

    def _end(self, reason: Reason, now: float) -> list[Effect]:
        session = self.session
        return [] if session is None else self._apply(session, session.end(reason), now)

    def _ended(self, session: Session, reason: Reason, now: float) -> list[Effect]:
        self.session = None
        effects: list[Effect] = []
        if reason is Reason.STEP_TIMEOUT and session.accepted_guests:
            effects += self._confine(session.unacknowledged_guests, now)
        self.guest_list.session_ended(
            has_accepted=bool(session.accepted_guests), was_answered=session.was_answered
        )
        self.retry.ended(reason, now, was_answered=session.was_answered)
        effects += self.leases.tell_phase(session.number, is_exposed=False)
        if reason is Reason.APPLIED_PARTLY or session.splits_live:
            effects += self._flush()
            effects += self.leases.resync(now)
        self.backlog.prune()
        retry_in_s = None
        if self.guest_list.is_reportable(self.retry.start_at) and not self._is_stopping:
            retry_in_s = max(0.0, self.retry.start_at - now)
        effects.append(SessionEnded(session.number, reason, session.was_up, retry_in_s))
        if self._is_stopping:
            effects.append(Stopped())
        return effects

    def _confine(self, identities: Iterable[Identity], now: float) -> list[Effect]:
        unknown = tuple(identities)
        for identity in unknown:
            self.backlog.replay.park(identity)
        return self.guest_list.confine(unknown, now)

    def _flush(self) -> list[Effect]:
        return [*self.leases.settle(self.backlog.acknowledgements, self.backlog.released)]
