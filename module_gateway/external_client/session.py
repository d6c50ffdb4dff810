"""One session with a control plane: the connect sequence and what follows (fleet-protocol 4.4).

Pure. `Session.hear` is the table of (phase, message); what it does not list is ignored and counted,
because a broker may deliver twice and a peer may still speak of an older session.

    AWAIT_CONNECT ─► AWAIT_STATUSES ─► AWAIT_COMMANDS ─► SETTLING ─► RUNNING ─► STOPPING
          └──────────────┴──────────────────┴────── ENDED ◄─┴──────────┴───────────┘
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from module_gateway.external_client.backlog import Backlog
from module_gateway.external_client.calling import Calling, connect_for
from module_gateway.external_client.command_desk import CommandDesk
from module_gateway.external_client.effects import (
    Accepted,
    Count,
    Ended,
    Established,
    Expose,
    Guest,
    SessionEffect,
    Unknown,
)
from module_gateway.external_client.entries import Entry
from module_gateway.external_client.rules import Rules, Verdict
from module_gateway.external_client.sender import PROMPT_STALL_S, STALL_S, StatusSender
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import (
    LISTENS_CAPABILITY,
    REPLAY_CAPABILITY,
    Command,
    ConnectResponse,
    ConnectResponseType,
    ServerMessage,
    StatusResponse,
)
from module_gateway.protocol.identity import Identity


class Phase(Enum):
    """Where a session stands."""

    AWAIT_CONNECT = auto()
    AWAIT_STATUSES = auto()
    AWAIT_COMMANDS = auto()
    SETTLING = auto()
    RUNNING = auto()
    STOPPING = auto()
    ENDED = auto()


UP: Final = frozenset({Phase.RUNNING, Phase.STOPPING})
"""The connect sequence succeeded."""


class Session:
    """From Connect to the end; used once."""

    def __init__(
        self,
        number: int,
        session_id: str,
        guests: tuple[Guest, ...],
        backlog: Backlog,
        rules: Rules,
        stale_ids: frozenset[str] = frozenset(),
        *,
        listens: bool = False,
        is_expected: bool = False,
    ) -> None:
        """Prepare a session for `guests`, each identity once, at least one.

        `was_answered` says that the peer answered the Connect, `was_up` that the sequence
        succeeded, `splits_live` that live entries overtake replayed ones (R18); all stay true
        after the end. `listed` are the guests: of them the answer tells what is applied.

        `stale_ids` are earlier sessions of this process: what still comes of them is harmless.
        `listens` (later what this peer says itself) and `is_expected`: see `Calling`.
        """
        self.number: Final = number
        self.session_id: Final = session_id
        self.phase = Phase.AWAIT_CONNECT
        self.deadline = 0.0
        self._guests = guests
        self.listed: Final = frozenset(guest.device.identity for guest in guests)
        self._backlog = backlog
        self._rules = rules
        self._stale_ids = stale_ids
        self.listens = listens
        connect = connect_for(session_id, guests, rules)
        self._calling = Calling(connect, listens=listens, is_expected=is_expected)
        self.sender = StatusSender(
            session_id, backlog, rules.window, rules.status_timeout_s, rules.last_counter
        )
        self._desk = CommandDesk(number, session_id, rules, self.sender)
        self._unacknowledged: dict[int, Identity] = {}
        self._accepted: list[Identity] = []
        self._without_command: set[Identity] = set()
        self._renewal = Reason.COUNTER_EXHAUSTED
        self.is_renewing = False
        self.was_answered = False
        self.was_up = False
        self.splits_live = False

    # What the endpoint asks

    @property
    def unacknowledged_guests(self) -> list[Identity]:
        """Guests whose CONNECTING was sent and not acknowledged, in order of sending."""
        return list(self._unacknowledged.values())

    @property
    def is_exposed(self) -> bool:
        """Statuses were published: what was delivered may have reached the peer."""
        return self.phase not in (Phase.AWAIT_CONNECT, Phase.ENDED)

    @property
    def accepted_guests(self) -> list[Identity]:
        """Guests whose CONNECTING was acknowledged."""
        return self._accepted

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        match self.phase:
            case Phase.ENDED:
                return None
            case Phase.RUNNING:
                times = [
                    self.sender.next_expiry(),
                    self.sender.next_stall(),
                    self._desk.next_retry(),
                ]
            case _:
                times = [self.deadline, self._desk.next_retry(), self._calling.again_at]
        return min((each for each in times if each is not None), default=None)

    # What happens

    def start(self, now: float) -> list[SessionEffect]:
        """Step 1."""
        for guest in self._guests:
            self._backlog.folds.freeze(guest.device.identity)
        self.deadline = now + self._rules.step_timeout_s
        return [self._calling.say(now)]

    def noticed(self, now: float) -> list[SessionEffect]:
        """The peer says that it is there. Nothing: it means that this session is over."""
        return [*self._calling.noticed(now)] if self.phase is Phase.AWAIT_CONNECT else []

    def hear(  # noqa: PLR0911  # a table, one row per return
        self, message: ServerMessage, now: float
    ) -> list[SessionEffect]:
        """A message of the control plane."""
        if message.session_id != self.session_id:
            return self._hear_other_session(message)
        match self.phase, message:
            case ((Phase.RUNNING | Phase.STOPPING), StatusResponse()):
                return self._acknowledged(message, now)
            case Phase.AWAIT_CONNECT, ConnectResponse():
                return self._connected(message, now)
            case Phase.AWAIT_STATUSES, StatusResponse():
                return self._guest_acknowledged(message, now)
            case Phase.AWAIT_STATUSES, Command():
                return self._early_command(message, now)
            case Phase.AWAIT_COMMANDS, Command():
                return self._first_command(message, now)
            case ((Phase.SETTLING | Phase.RUNNING | Phase.STOPPING), Command()):
                return self._commanded(message, now)
            case Phase.AWAIT_CONNECT, _:
                return self.end(Reason.UNEXPECTED_MESSAGE)
            case _:
                # QoS 1 may deliver a ConnectResponse or an acknowledgement twice (G-18).
                return [Count(Reason.UNEXPECTED_MESSAGE)]

    def decide(self, verdict: Verdict, now: float) -> list[SessionEffect]:
        """A verdict of a handler; one of an ended session or of an answered command is dropped."""
        if verdict.session != self.number or self.phase is Phase.ENDED:
            return [Count(Reason.COMMAND_STALE_SESSION)]
        effects = self._desk.decide(verdict.counter, verdict.response)
        self._settle_when_complete(now)
        return effects

    def offer(self, identity: Identity, now: float) -> list[SessionEffect]:
        """Something of this device waits in the backlog."""
        self.sender.offer(identity)
        return self._pump(now)

    def invite(self, marker: Entry, now: float, *, is_probe: bool) -> list[SessionEffect]:
        """Announce a device that is not, while running."""
        self.sender.invite(marker, is_probe=is_probe)
        return self._pump(now)

    def stop(self, now: float) -> list[SessionEffect]:
        """Leave politely: DISCONNECT for everybody when the peer would read it (E23)."""
        if self.phase not in (Phase.SETTLING, Phase.RUNNING):
            return self.end(Reason.SHUTDOWN)
        self.phase = Phase.STOPPING
        self.deadline = now + self._rules.stop_wait_s
        farewells: list[SessionEffect] = [*self.sender.disconnect_all(now)]
        return farewells if self.sender.in_flight else self.end(Reason.SHUTDOWN)

    def renew(self, reason: Reason) -> list[SessionEffect]:
        """End as soon as what is in flight is acknowledged: nothing shall be in doubt."""
        self._renewal = reason
        self.is_renewing = True
        self.sender.close()
        return self._end_when_done()

    def end(self, reason: Reason) -> list[SessionEffect]:
        """It is over: what was not acknowledged is folded, once and in order (E10)."""
        if self.phase is Phase.ENDED:
            return []
        self.phase = Phase.ENDED
        self._backlog.refold_all()
        return [Ended(reason)]

    def tick(self, now: float) -> list[SessionEffect]:
        """Time has passed."""
        effects: list[SessionEffect] = [
            *(self._desk.due(now) if self.phase is not Phase.ENDED else ())
        ]
        match self.phase:
            case Phase.RUNNING:
                effects += self._expire(now)
                effects += self._pump(now)
            case Phase.ENDED:
                pass
            case Phase.AWAIT_CONNECT if now < self.deadline:
                effects += self._calling.due(now)
            case _ if now < self.deadline:
                pass
            case Phase.SETTLING:
                effects += self._run(now)
            case Phase.STOPPING:
                effects += self.end(Reason.SHUTDOWN)
            case _:
                effects += self.end(Reason.STEP_TIMEOUT)
        return effects

    # Step 1: AWAIT_CONNECT

    def _connected(self, message: ConnectResponse, now: float) -> list[SessionEffect]:
        self.was_answered = True
        self._calling.again_at = None
        if message.response == ConnectResponseType.ALREADY_LOGGED:
            return self.end(Reason.ALREADY_LOGGED)
        if message.response != ConnectResponseType.OK:
            return self.end(Reason.UNEXPECTED_MESSAGE)
        if self._trim(message):
            return self.end(Reason.APPLIED_PARTLY)
        if self._rules.replay_modules and REPLAY_CAPABILITY in message.capabilities:
            self.splits_live = self._backlog.replay.splits_live = True
        self.listens = LISTENS_CAPABILITY in message.capabilities
        self.sender.stall_s = PROMPT_STALL_S if self.listens else STALL_S
        effects: list[SessionEffect] = [Expose(self.number)]
        for guest in self._guests:
            counter, publish = self.sender.connect_guest(guest)
            self._unacknowledged[counter] = guest.device.identity
            effects.append(publish)
        self.phase = Phase.AWAIT_STATUSES
        self.deadline = now + self._rules.step_timeout_s
        return effects

    def _trim(self, message: ConnectResponse) -> bool:
        """Drop what the peer has applied (R11). True: a fold must be made anew first."""
        is_partial = False
        for identity, stretch in message.applied_live:
            self._backlog.replay.skip(identity, stretch)
        for identity, position in message.applied:
            self._backlog.replay.trim(identity, position)
            self._backlog.know_applied(identity, position)
            fold = self._backlog.folds.oldest(identity)
            while fold is not None and fold.store_id == position.store_id:
                if position.sequence < fold.last:
                    if position.sequence >= max(fold.first, fold.indivisible):
                        self._backlog.trim(identity, position.sequence)
                        is_partial = True
                    break
                self._backlog.deliver_fold(identity)
                fold = self._backlog.folds.oldest(identity)
        return is_partial

    # Step 2: AWAIT_STATUSES

    def _guest_acknowledged(self, message: StatusResponse, now: float) -> list[SessionEffect]:
        if message.response != 0:
            return self.end(Reason.UNEXPECTED_MESSAGE)
        identity = self._unacknowledged.pop(message.counter, None)
        if identity is None:
            return [Count(Reason.ACK_UNKNOWN)]
        self._accepted.append(identity)
        self.deadline = now + self._rules.step_timeout_s
        if not self._unacknowledged:
            self._await_commands()
        return [Accepted(identity)]

    def _await_commands(self) -> None:
        self.phase = Phase.AWAIT_COMMANDS
        self._without_command = set(self._accepted)

    def _early_command(self, message: Command, now: float) -> list[SessionEffect]:
        """The peer went on to step 3: it will never acknowledge those that are left (R16)."""
        if not self._accepted:
            return self.end(Reason.UNEXPECTED_MESSAGE)
        effects: list[SessionEffect] = []
        for identity in self._unacknowledged.values():
            self.sender.withdraw(identity)
            effects.append(Unknown(identity))
        self._unacknowledged.clear()
        self._await_commands()
        for effect in effects:
            if isinstance(effect, Unknown):
                self._backlog.refold(effect.identity)
        return effects + self._first_command(message, now)

    # Step 3: AWAIT_COMMANDS

    def _first_command(self, message: Command, now: float) -> list[SessionEffect]:
        effects = self._commanded(message, now)
        if self.phase is Phase.ENDED:
            return effects
        # Only now it is certain that the peer took the folds (R11).
        for identity in self._accepted:
            self._backlog.deliver_guest(identity)
        if message.device.identity in self._without_command:
            self._without_command.discard(message.device.identity)
            self.deadline = now + self._rules.step_timeout_s
        self._settle_when_complete(now)
        return effects

    def _settle_when_complete(self, now: float) -> None:
        if self.phase is not Phase.AWAIT_COMMANDS or self._without_command:
            return
        if self._desk.open_commands:
            self.deadline = now + self._rules.status_timeout_s  # the handler decides
            return
        self.phase = Phase.SETTLING
        self.deadline = now + self._rules.settle_s

    # After the sequence

    def _commanded(self, message: Command, now: float) -> list[SessionEffect]:
        effects = self._desk.receive(message, now)
        if effects is None:
            return self.end(Reason.COMMAND_OUT_OF_ORDER)
        return effects

    def _run(self, now: float) -> list[SessionEffect]:
        self.phase = Phase.RUNNING
        self.was_up = True
        self.sender.begin()
        established = Established(len(self.sender.announced))
        return [*self._pump(now), established]  # whoever is invited then comes behind these

    def _pump(self, now: float) -> list[SessionEffect]:
        if self.phase is not Phase.RUNNING:
            return []
        return [*self.sender.pump(now)]

    def _acknowledged(self, message: StatusResponse, now: float) -> list[SessionEffect]:
        flight = self.sender.acknowledge(message.counter) if message.response == 0 else None
        if flight is None:
            return [Count(Reason.ACK_UNKNOWN)]
        effects: list[SessionEffect] = [Accepted(flight.identity)] if flight.is_probe else []
        effects += self._pump(now)
        if self.phase is Phase.STOPPING:
            return effects if self.sender.in_flight else effects + self.end(Reason.SHUTDOWN)
        return effects + self._end_when_done()

    def _end_when_done(self) -> list[SessionEffect]:
        if self.sender.is_idle:
            return self.end(Reason.SESSION_IDLE)
        if self.sender.is_exhausted:
            return self.end(self._renewal)
        return []

    def _expire(self, now: float) -> list[SessionEffect]:
        effects: list[SessionEffect] = []
        for flight in self.sender.expired(now):
            if not self.sender.is_unknown_device(flight):
                return effects + self.end(Reason.ACK_TIMEOUT)
            self.sender.give_up(flight)
            effects.append(Unknown(flight.identity))
        if effects:
            effects += self._pump(now)
            effects += self._end_when_done()
        return effects

    # Other sessions

    def _hear_other_session(self, message: ServerMessage) -> list[SessionEffect]:
        effects: list[SessionEffect] = [Count(Reason.WRONG_SESSION)]
        is_command = isinstance(message, Command) and message.session_id not in self._stale_ids
        if is_command and self.phase in (Phase.SETTLING, Phase.RUNNING):
            effects += self.end(Reason.WRONG_SESSION)
        return effects
