"""The other side of the connect sequence, for one vehicle: events in, effects out.

    phase      leaves it when
    ─────────  ────────────────────────────────────────────────────────────────────────────
    (none)     a Connect: answered OK                                          → STATUSES
    STATUSES   every announced device sent its first status, each acknowledged;
               then one command per announced device                           → COMMANDS
    COMMANDS   every command is answered                                       → RUNNING
    RUNNING    until the session ends

It mirrors the external client (fleet-protocol 4.4 to 4.7), without the existing server's quirks:

* A Connect with a new session id replaces the running session at once and is answered. One with
  the running id is answered again as long as nothing followed it, then with ALREADY_LOGGED.
* Every status of the session is acknowledged, in every phase and for every device of every
  module: also a CONNECTING of an announced device, and a RUNNING or DISCONNECT of an unknown one,
  which registers (or merely records) it. The status is good; refusing it would cost the telemetry
  of all other devices a session. Only a device that finds no room any more is not acknowledged.
* A status that was acknowledged before is acknowledged again, not applied again. One that comes
  before its turn waits for the missing ones, up to a bound and a time.
* An empty Connect is accepted; after the last DISCONNECT the session stays until it times out.
* A message of an unknown session is answered by the disconnect notification, so that a gateway
  learns of our restart by its next status.

Our extension: a status whose outbox position was applied before is acknowledged and changes
nothing but the registration, and ConnectResponse lists the applied positions (contract R11). A
gateway may send what it stored during an outage beside what is live (R18, `lanes`); no command
follows from what is replayed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto, unique
from typing import Final, assert_never

from module_gateway.control_plane.command_queue import OUTCOMES, CommandQueue
from module_gateway.control_plane.events import (
    CommandFinished,
    CommandState,
    CommandWanted,
    DeviceLeft,
    Dropped,
    Effect,
    Event,
    LinkLost,
    LinkRestored,
    MessageReceived,
    Publish,
    PublishDisconnect,
    SessionEnded,
    SessionReady,
    SessionStarted,
    StopWanted,
    Tick,
)
from module_gateway.control_plane.lanes import Lanes
from module_gateway.control_plane.positions import AppliedPositions
from module_gateway.control_plane.status_order import StatusOrder, Turn
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import (
    CommandResponse,
    CommandResponseType,
    Connect,
    ConnectResponse,
    ConnectResponseType,
    DeviceState,
    Status,
    StatusResponse,
)
from module_gateway.protocol.identity import Device, Identity

COUNTER_LAST: Final = 2**32 - 1
"""A gateway renews its session before this status counter (fleet-protocol 4.5)."""

RENOTIFY_S: Final = 1.0
"""One notification per unknown session and so long: a gateway may have a window of statuses under
way, and a notification that meets its next Connect costs it an attempt."""

TEXT_BYTES: Final = 256
"""Longest role and name of a device that is accepted (fleet-protocol 1.5)."""


@unique
class Phase(Enum):
    """How far the connect sequence has come."""

    STATUSES = auto()
    COMMANDS = auto()
    RUNNING = auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """Times and bounds of a session (settings: control-plane-settings)."""

    step_timeout_s: float = 5.0
    session_timeout_s: float = 30.0
    early_statuses: int = 64
    early_bytes: int = 4 * 1024 * 1024
    command_window: int = 16

    def status_order(self) -> StatusOrder:
        """The order of a new session's statuses."""
        return StatusOrder(self.early_statuses, self.early_bytes, self.step_timeout_s)


@dataclass(slots=True)
class _Session:
    """One session. Deadlines are monotonic seconds."""

    session_id: str
    announced: tuple[Device, ...]
    awaited: set[Identity]
    step_by: float
    silent_by: float
    order: StatusOrder
    lanes: Lanes
    phase: Phase = Phase.STATUSES
    connected: set[Identity] = field(default_factory=set)


class VehicleSession:
    """What the control plane knows of one vehicle's session. Pure: time comes as `now`."""

    def __init__(
        self,
        limits: Limits,
        positions: AppliedPositions | None = None,
        known: Iterable[Identity] = (),
        *,
        is_notification_owed: bool = False,
    ) -> None:
        """`positions` and `known` are what the store holds of this vehicle.

        `is_notification_owed`: an earlier life of ours is over; say so once the link is up.
        """
        self._limits = limits
        self._positions = positions if positions is not None else AppliedPositions()
        self._known = set(known)
        self._commands = CommandQueue(limits.step_timeout_s, limits.command_window)
        self._session: _Session | None = None
        self._room = 0
        self._is_notification_owed = is_notification_owed
        self._notified: tuple[str, float] = ("", 0.0)

    @property
    def session_id(self) -> str | None:
        """The running session, None without one."""
        return self._session.session_id if self._session is not None else None

    @property
    def phase(self) -> Phase | None:
        """The running session's phase, None without one."""
        return self._session.phase if self._session is not None else None

    @property
    def known_devices(self) -> int:
        """How many devices of this vehicle were ever admitted."""
        return len(self._known)

    @property
    def next_deadline(self) -> float | None:
        """When a Tick is due (monotonic s), None when nothing waits."""
        deadlines = [self._commands.next_deadline]
        if (session := self._session) is not None:
            deadlines += [session.silent_by, session.order.gap_by]
            if session.phase is Phase.STATUSES:
                deadlines.append(session.step_by)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def step(self, event: Event, now: float) -> list[Effect]:
        """The consequences of one event, in the order in which they must happen. Never raises."""
        match event:
            case MessageReceived(message, size_bytes, room):
                self._room = room
                return self._receive(message, size_bytes, now)
            case CommandWanted():
                self._commands.add(event)
                return self._send_waiting(now)
            case Tick():
                return self._tick(now)
            case LinkLost():
                self._is_notification_owed |= self._session is not None
                return self._end(Reason.BROKER_LOST, now, is_notified=False)
            case LinkRestored():
                is_owed, self._is_notification_owed = self._is_notification_owed, False
                return [PublishDisconnect()] if is_owed and self._session is None else []
            case StopWanted():
                return self._end(Reason.SHUTDOWN, now)
            case _:
                assert_never(event)

    # ---- messages -----------------------------------------------------------------------------

    def _receive(
        self, message: Connect | Status | CommandResponse, size_bytes: int, now: float
    ) -> list[Effect]:
        session = self._session
        if isinstance(message, Connect):
            return self._connect(message, now)
        if session is None:
            return self._unknown_session(message.session_id, now)
        if message.session_id != session.session_id:
            # The rest of a session that was replaced; a notification would end the new one.
            return [Dropped(Reason.WRONG_SESSION, message.session_id)]
        session.silent_by = now + self._limits.session_timeout_s
        if isinstance(message, Status):
            return self._receive_status(session, message, size_bytes, now)
        return self._receive_answer(session, message, now)

    def _unknown_session(self, session_id: str, now: float) -> list[Effect]:
        dropped = Dropped(Reason.WRONG_SESSION, session_id)
        last_id, last_at = self._notified
        if session_id == last_id and now < last_at + RENOTIFY_S:
            return [dropped]
        self._notified = (session_id, now)
        return [dropped, PublishDisconnect()]

    def _connect(self, connect: Connect, now: float) -> list[Effect]:
        session = self._session
        effects: list[Effect] = []
        if session is not None and session.session_id == connect.session_id:
            session.silent_by = now + self._limits.session_timeout_s
            if session.order.is_begun:
                answer = ConnectResponse(connect.session_id, ConnectResponseType.ALREADY_LOGGED)
                return [Dropped(Reason.ALREADY_LOGGED, connect.session_id), Publish(answer)]
        if session is not None:
            effects += self._end(Reason.SESSION_REPLACED, now, is_notified=False)
        devices: dict[Identity, Device] = {}
        for device in connect.devices:
            if device.identity in devices:
                continue
            refusal = self._admit(device)
            if refusal is not None:
                effects.append(refusal)
            else:
                devices[device.identity] = device
        self._is_notification_owed = False
        self._session = _Session(
            connect.session_id,
            announced=tuple(devices.values()),
            awaited=set(devices),
            step_by=now + self._limits.step_timeout_s,
            silent_by=now + self._limits.session_timeout_s,
            order=self._limits.status_order(),
            lanes=Lanes(connect, devices, self._positions),
        )
        answer = self._session.lanes.answer
        effects += [SessionStarted(connect.session_id, self._session.announced), Publish(answer)]
        return effects + self._advance(self._session, now)

    def _receive_status(
        self, session: _Session, status: Status, size_bytes: int, now: float
    ) -> list[Effect]:
        counter = f"counter {status.counter}"
        match session.order.receive(status, size_bytes, now):
            case Turn.NOW:
                effects = self._apply(session, status, now)
                while self._session is session and (early := session.order.next_early(now)):
                    effects += self._apply(session, early, now)
                return effects
            case Turn.EARLY:
                return []
            case Turn.REPEATED:
                acknowledgement = self._acknowledgement(session, status)
                return [Dropped(Reason.STATUS_REPEATED, counter), acknowledgement]
            case Turn.REPEATED_EARLY:
                return [Dropped(Reason.STATUS_REPEATED, counter)]
            case Turn.BEFORE_FIRST:
                return [Dropped(Reason.UNEXPECTED_MESSAGE, counter)]
            case Turn.OVERFLOW:
                return [Dropped(Reason.QUEUE_FULL, counter), *self._end(Reason.SEQUENCE_GAP, now)]

    def _apply(self, session: _Session, status: Status, now: float) -> list[Effect]:
        """Use the status whose turn it is."""
        if (refusal := self._admit(status.device)) is not None:
            return [refusal]
        identity = status.device.identity
        match status.state:
            case DeviceState.RUNNING if status.is_replayed:
                pass  # old news: it brings no device back that has left since
            case DeviceState.CONNECTING | DeviceState.RUNNING:
                session.connected.add(identity)
            case DeviceState.DISCONNECT:
                session.connected.discard(identity)
            case _:  # ERROR is never sent (D15); if it is, the status counts, the state does not
                pass
        record = session.lanes.record(status, is_connected=identity in session.connected)
        effects: list[Effect] = [record, self._acknowledgement(session, status)]
        if identity in session.awaited:
            session.awaited.discard(identity)
            session.step_by = now + self._limits.step_timeout_s
        effects += self._advance(session, now)
        if status.counter == COUNTER_LAST:
            effects += self._end(Reason.COUNTER_EXHAUSTED, now)
        return effects

    def _receive_answer(
        self, session: _Session, answer: CommandResponse, now: float
    ) -> list[Effect]:
        sent = self._commands.answered(answer.counter)
        if sent is None:
            return [Dropped(Reason.ACK_UNKNOWN, f"command {answer.counter}")]
        effects: list[Effect] = []
        if sent.command_id is not None:
            outcome = OUTCOMES.get(answer.response, CommandState.REFUSED)
            effects.append(CommandFinished(sent.command_id, outcome, answer.response))
        if answer.response == CommandResponseType.DEVICE_NOT_CONNECTED:
            session.connected.discard(sent.identity)
            effects.append(DeviceLeft(sent.identity))
        if session.phase is Phase.COMMANDS:  # the gateway is working its way through
            self._commands.extend(now)
        return effects + self._advance(session, now)

    # ---- the sequence -------------------------------------------------------------------------

    def _advance(self, session: _Session, now: float) -> list[Effect]:
        """Go to the next phase if this one is complete."""
        effects: list[Effect] = []
        if session.phase is Phase.STATUSES and not session.awaited:
            session.phase = Phase.COMMANDS
            effects += self._commands.expire(now)
            for device in session.announced:
                effects += self._commands.send_first(session.session_id, device, now)
        if session.phase is Phase.COMMANDS and self._commands.is_all_answered:
            session.phase = Phase.RUNNING
            effects.append(SessionReady(session.session_id))
        return effects + self._send_waiting(now)

    def _send_waiting(self, now: float) -> list[Effect]:
        session = self._session
        effects: list[Effect] = [*self._commands.expire(now)]
        if session is not None and session.phase is Phase.RUNNING:
            effects += self._commands.send_waiting(session.session_id, session.connected, now)
        return effects

    def _tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = [*self._commands.expire(now)]
        session = self._session
        if session is None:
            return effects
        if session.silent_by <= now:
            # Without devices the gateway has left already and needs no word.
            is_idle = not session.connected and not session.awaited
            reason = Reason.SESSION_IDLE if is_idle else Reason.SESSION_TIMEOUT
            return effects + self._end(reason, now, is_notified=not is_idle)
        if session.phase is Phase.STATUSES and session.step_by <= now:
            return effects + self._end(Reason.STEP_TIMEOUT, now)
        if session.order.gap_by is not None and session.order.gap_by <= now:
            return effects + self._end(Reason.SEQUENCE_GAP, now)
        if self._commands.is_overdue(now):
            return effects + self._end(Reason.ACK_TIMEOUT, now)
        return effects

    def _end(self, reason: Reason, now: float, *, is_notified: bool = True) -> list[Effect]:
        session, self._session = self._session, None
        if session is None:
            return []
        effects: list[Effect] = [*self._commands.forget_sent()]
        effects.append(SessionEnded(session.session_id, reason))
        if is_notified:
            self._notified = (session.session_id, now)
            effects.append(PublishDisconnect())
        return effects

    # ---- small decisions ----------------------------------------------------------------------

    def _acknowledgement(self, session: _Session, status: Status) -> Effect:
        return Publish(StatusResponse(session.session_id, 0, status.counter))

    def _admit(self, device: Device) -> Dropped | None:
        """None if the device may be remembered, else why not."""
        if device.identity in self._known:
            return None
        if max(len(device.identity.role.encode()), len(device.name.encode())) > TEXT_BYTES:
            return Dropped(Reason.DEVICE_FORM, device.identity.role)
        if self._room <= 0:
            return Dropped(Reason.TOO_MANY_IDENTITIES, str(device.identity))
        self._room -= 1
        self._known.add(device.identity)
        return None
