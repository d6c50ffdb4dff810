"""A whole neighbourhood for one endpoint on a virtual clock: handlers, a control plane, time.

The control plane follows the specification's description of the existing external server
(4.4-4.9) and keeps a list of everything in which the gateway broke its rules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from module_gateway.external_client.backoff import Backoff, Pause
from module_gateway.external_client.effects import (
    Count,
    Effect,
    Publish,
    SessionEnded,
    SessionUp,
    Stopped,
    Superseded,
    Tell,
)
from module_gateway.external_client.endpoint import Endpoint
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
from module_gateway.external_client.leases import Leases
from module_gateway.external_client.quarantine import Quarantine
from module_gateway.external_client.retry import Retry
from module_gateway.external_client.rules import Rules
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import ModuleError, Reason
from module_gateway.protocol.external import (
    ClientMessage,
    Command,
    CommandResponse,
    Connect,
    ConnectResponse,
    DeviceState,
    Position,
    ServerMessage,
    Status,
    StatusResponse,
    Stretch,
)
from module_gateway.protocol.identity import Device, Identity

EPOCH = 77
MODULE = 1000
OTHER_MODULE = 2


def device(role: str = "a", module: int = MODULE, priority: int = 0) -> Device:
    return Device.of(module, 0, role, f"name of {role}", priority)


class TraceModule:
    """Its error aggregate is the list of what was folded: every count is visible."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        self.calls.append(status)
        if status.startswith(b"refuse"):
            raise ModuleError("refused")
        return error + b"[" + status + b"]"

    def is_device_type_supported(self, device_type: int) -> bool:
        return device_type < 9


@dataclass
class Stream:
    """One lane of a lease."""

    delivered: int = 0
    receipts: int = 0
    cursor: int = 0


@dataclass
class Handler:
    """A module handler's outbox, as far as the external client sees it."""

    peer: int = 1
    store_id: int = 11
    modules: tuple[int, ...] = (MODULE,)
    window: int = 2_000
    is_mute: bool = False
    answers_snapshots: bool = True
    verdict: int | None = 0
    registered: dict[Identity, tuple[Device, bytes]] = field(default_factory=dict)
    outbox: list[bus_pb2.Delivery] = field(default_factory=list)
    next_sequence: int = 1
    epoch: int | None = None
    replays: bool = False
    cut: int | None = None
    streams: dict[int, Stream] = field(default_factory=lambda: {n: Stream() for n in range(3)})
    clock: Callable[[], int] = field(default=lambda: 0)
    stretches: list[tuple[str, int, int]] = field(default_factory=list)
    acks: list[tuple[str, int]] = field(default_factory=list)
    phases: list[int] = field(default_factory=list)
    commands: list[bus_pb2.CommandForward] = field(default_factory=list)
    said: deque[bus_pb2.Message] = field(default_factory=deque)
    leases: int = 0

    @property
    def delivered(self) -> int:
        return self.streams[0].delivered

    @delivered.setter
    def delivered(self, number: int) -> None:
        self.streams[0].delivered = number

    @property
    def receipts(self) -> int:
        return self.streams[0].receipts

    @property
    def cursor(self) -> int:
        return self.streams[0].cursor

    def presence(self) -> bus_pb2.Presence:
        presence = bus_pb2.Presence()
        for module in self.modules:
            presence.served.add(module=module, partitions=2**64 - 1)
        return presence

    # what devices do

    def status(
        self,
        who: Device,
        status: bytes,
        *,
        ends: bool = False,
        is_repeat: bool = False,
        error: bytes | None = None,
        first: int = 0,
        indivisible: int | None = None,
    ) -> int:
        entry = bus_pb2.Delivery(
            sequence=self.next_sequence,
            status=status,
            ends_registration=ends,
            is_repeat=is_repeat,
            first_sequence=first,
            time_unix_ms=self.clock(),
            indivisible=indivisible,
        )
        if error is not None:
            entry.error = error
        who.write_to(entry.device)
        self.next_sequence += 1
        self.outbox.append(entry)
        if ends:
            self.registered.pop(who.identity, None)
        else:
            self.registered[who.identity] = (who, status)
        self._deliver()
        return entry.sequence

    def leave(self, who: Device) -> int:
        _, status = self.registered[who.identity]
        return self.status(who, status, ends=True, is_repeat=True)

    def heartbeat(self, who: Device, *, ends: bool = False) -> None:
        _, status = self.registered[who.identity]
        marker = bus_pb2.Delivery(status=status, is_repeat=True, ends_registration=ends)
        who.write_to(marker.device)
        self._send(marker)

    # the lease

    def told(self, message: bus_pb2.Message) -> None:
        if self.is_mute:
            return
        match message.WhichOneof("body"):
            case "lease":
                self._leased(message.lease)
            case "outbox_ack":
                for stretch in message.outbox_ack.acknowledged:
                    self._acknowledged(stretch)
            case "delivery_receipt":
                receipt = message.delivery_receipt
                self.streams[receipt.lane].receipts = receipt.delivery
                self._deliver()
            case "snapshot_request":
                if self.answers_snapshots:
                    self._snapshot(message.snapshot_request.request)
            case "session_phase":
                self.phases.append(message.session_phase.phase)
                self._split(is_split=message.session_phase.splits_live)
            case "command_forward":
                self.commands.append(message.command_forward)
                if self.verdict is not None:
                    self.decide(message.command_forward, self.verdict)

    def _acknowledged(self, ack: bus_pb2.OutboxAck.Stretch) -> None:
        self.acks.append((ack.device.deviceRole, ack.sequence))
        if ack.first_sequence:
            self.stretches.append((ack.device.deviceRole, ack.first_sequence, ack.sequence))
        who = Device.from_message(ack.device).identity
        self.outbox = [
            each
            for each in self.outbox
            if Device.from_message(each.device).identity != who
            or not ack.first_sequence <= each.sequence <= ack.sequence
        ]

    def _split(self, *, is_split: bool) -> None:
        if not is_split:
            self.cut = None
        elif self.cut is None:
            self.cut = self.streams[2].cursor = self.next_sequence - 1

    def decide(self, forward: bus_pb2.CommandForward, response: int) -> None:
        message = bus_pb2.Message()
        verdict = message.command_verdict
        verdict.epoch, verdict.session, verdict.counter = EPOCH, forward.session, forward.counter
        verdict.response = response
        self.said.append(message)

    def end_lease(self, epoch: int = EPOCH) -> None:
        message = bus_pb2.Message()
        message.lease_ended.epoch = epoch
        message.lease_ended.reason = "a newer client"
        self.said.append(message)

    def restart(self, peer: int) -> None:
        self.peer, self.epoch = peer, None
        self.said.clear()

    def _leased(self, lease: bus_pb2.Lease) -> None:
        self.leases += 1
        self.epoch = lease.epoch
        self.streams = {n: Stream() for n in range(3)}
        self.cut = None
        message = bus_pb2.Message()
        message.lease_granted.epoch = lease.epoch
        message.lease_granted.store_id = self.store_id
        self.said.append(message)
        self._snapshot(0)
        self._deliver()

    def _snapshot(self, request: int) -> None:
        message = bus_pb2.Message()
        snapshot = message.snapshot
        snapshot.epoch, snapshot.request = self.epoch or 0, request
        snapshot.is_first = snapshot.is_last = True
        for who, status in self.registered.values():
            entry = snapshot.registered.add(status=status)
            who.write_to(entry.device)
        self.said.append(message)

    def _deliver(self) -> None:
        if self.epoch is None:
            return
        for entry in self.outbox:
            lane = self._lane(entry)
            stream = self.streams[lane]
            if stream.delivered - stream.receipts >= self.window:
                continue
            if entry.sequence > stream.cursor:
                stream.cursor = entry.sequence
                self._send(entry, lane)

    def _lane(self, entry: bus_pb2.Delivery) -> int:
        if not self.replays:
            return 0
        return 2 if self.cut is not None and entry.sequence > self.cut else 1

    def _send(self, entry: bus_pb2.Delivery, lane: int = 0) -> None:
        if self.epoch is None:
            return
        self.streams[lane].delivered += 1
        message = bus_pb2.Message()
        message.delivery.CopyFrom(entry)
        message.delivery.epoch = self.epoch
        message.delivery.delivery = self.streams[lane].delivered
        message.delivery.lane = lane  # type: ignore[assignment]
        self.said.append(message)


class ControlPlane:
    """The existing external server's rules; `violations` is what a correct gateway leaves empty."""

    def __init__(self) -> None:
        self.knows: Callable[[Identity], bool] = lambda identity: True
        self.is_deaf = False
        self.listens = False
        self.acknowledges: Callable[[Status], bool] = lambda status: True
        self.commands_first = True
        self.session: str | None = None
        self.phase = "listening"
        self.devices: set[Identity] = set()
        self.expected: set[Identity] = set()
        self.open_responses = 0
        self.counter = 0
        self.last_status_counter = 0
        self.applied: dict[Identity, Position] | None = None
        self.splits = False
        self.live: dict[Identity, list[Stretch]] = {}
        self.live_session: dict[Identity, str] = {}
        self.repeated: list[Status] = []
        self.taken: list[Status] = []
        self.violations: list[str] = []
        self.notices = 0
        self.is_patient = True

    def receive(self, message: ClientMessage) -> list[ServerMessage | None]:
        """None in the answers is the disconnect notification."""
        if self.is_deaf:
            return []
        match message:
            case Connect():
                return self._connect(message)
            case Status():
                return self._status(message) if message.session_id == self.session else []
            case CommandResponse():
                return self._response(message)

    def drop(self) -> list[ServerMessage | None]:
        self.session, self.phase = None, "listening"
        self.devices.clear()
        return [None]

    def command(self, who: Device, payload: bytes = b"go") -> Command:
        command = Command(self.session or "", self.counter, replace(who, priority=0), payload)
        self.counter += 1
        return command

    def _connect(self, message: Connect) -> list[ServerMessage | None]:
        if self.session is not None and not self.listens:
            return self.drop()
        if not message.devices:
            self.violations.append("empty Connect")
            return [None]
        identities = [each.identity for each in message.devices]
        if len(set(identities)) != len(identities):
            self.violations.append("device listed twice")
        self.session, self.phase = message.session_id, "statuses"
        self.expected = {each for each in identities if self.knows(each)}
        self.devices = set()
        self.last_status_counter = 0
        applied = () if self.applied is None else tuple(self.applied.items())
        live = [(who, each) for who, stretches in self.live.items() for each in stretches]
        capabilities = ("replay",) if self.splits and "replay" in message.capabilities else ()
        if self.listens:
            capabilities += ("listens",)
        return [ConnectResponse(message.session_id, 0, applied, tuple(live), capabilities)]

    def _status(self, status: Status) -> list[ServerMessage | None]:  # noqa: PLR0912
        identity = status.device.identity
        if status.counter != self.last_status_counter + 1:
            self.violations.append(f"counter {status.counter} after {self.last_status_counter}")
        self.last_status_counter = status.counter
        is_known = identity in self.devices
        if self.phase == "statuses" and status.state != DeviceState.CONNECTING:
            self.violations.append("not CONNECTING in the sequence")
        if self.phase == "commands" and self.knows(identity):
            self.violations.append("a status before the last CommandResponse")
        if (status.state == DeviceState.CONNECTING) == is_known:
            self.violations.append(f"state {status.state} for {identity}, known: {is_known}")
        if status.state == DeviceState.ERROR:
            self.violations.append("ERROR sent")
        if status.error is not None and status.state != DeviceState.CONNECTING:
            self.violations.append("an errorMessage outside CONNECTING")
        if not is_known and not self.knows(identity):
            return []
        if self._apply(status):
            self.taken.append(status)
        else:
            self.repeated.append(status)
        if status.state == DeviceState.DISCONNECT:
            self.devices.discard(identity)
        else:
            self.devices.add(identity)
        if not self.acknowledges(status):
            return []
        answers: list[ServerMessage | None] = [StatusResponse(status.session_id, 0, status.counter)]
        if self.phase == "statuses":
            self.expected.discard(identity)
            if not self.expected:
                answers += self._first_commands()
        elif not self.devices:
            answers += self.drop()
        return answers

    def _apply(self, status: Status) -> bool:
        """Whether it is new, as far as the peer remembers positions at all."""
        if self.applied is None or status.position is None:
            return True
        if not self.splits:
            self.applied[status.device.identity] = status.position
            return True
        who, (store, number) = status.device.identity, status.position
        known = self.applied.get(who, Position(store, 0))
        stretches = [each for each in self.live.get(who, []) if each.store_id == store]
        applied = known.sequence if known.store_id == store else 0
        if number <= applied or any(
            each.first_sequence <= number <= each.sequence for each in stretches
        ):
            return False
        if status.is_live:
            if stretches and self.live_session.get(who) == status.session_id:
                stretches[-1] = stretches[-1]._replace(sequence=number)
            else:
                stretches.append(Stretch(store, number, number))
            self.live_session[who] = status.session_id
        else:
            for each in sorted(stretches, key=lambda each: each.first_sequence):
                number = max(number, each.sequence) if number >= each.first_sequence else number
            stretches = [each for each in stretches if each.first_sequence > number]
            self.applied[who] = Position(store, number)
        self.live[who] = stretches
        return True

    def _first_commands(self) -> list[ServerMessage | None]:
        self.phase = "commands"
        self.open_responses = len(self.devices)
        return [self.command(Device(each), b"") for each in sorted(self.devices)]

    def _response(self, message: CommandResponse) -> list[ServerMessage | None]:
        if message.session_id != self.session:
            if self.session is not None:
                self.violations.append("CommandResponse of another session")
            return []
        if self.phase == "statuses":
            self.violations.append("CommandResponse before the commands")
        self.open_responses -= 1
        if self.phase == "commands" and not self.open_responses:
            self.phase = "running"
        return []


class World:
    """Runs an endpoint and lets time pass."""

    def __init__(
        self,
        *handlers: Handler,
        peer: ControlPlane | None = None,
        chance: Callable[[], float] = lambda: 0.5,
        modules: tuple[int, ...] = (MODULE,),
        starts: bool = True,
        **rules: float,
    ) -> None:
        self.now = 1_000.0
        self.module = TraceModule()
        self.handlers = list(handlers) or [Handler()]
        for each in self.handlers:
            each.clock = self.unix_ms
        self.peer = peer
        self.published: list[tuple[float, ClientMessage]] = []
        self.effects: list[Effect] = []
        self._ids = 0
        rules.setdefault("lane_window", (self.handlers[0].window, 2**30))  # type: ignore[arg-type]
        retry = Retry(Backoff(1.0, 10.0, chance), Pause(1.0, 2.0, chance), chance)
        self.endpoint = Endpoint(
            Leases(0, EPOCH, modules),
            Rules("acme", "van", dict.fromkeys(modules, self.module), **rules),  # type: ignore[arg-type]
            retry,
            Quarantine(30.0, 600.0),
            self._new_id,
        )
        if starts:
            self.start()

    def start_ids(self, former: World) -> None:
        """Session ids are never drawn twice, whoever draws them."""
        self._ids = former._ids

    def _new_id(self) -> str:
        self._ids += 1
        return f"session{self._ids}"

    def unix_ms(self) -> int:
        return int(self.now * 1000)

    # short words for tests

    @property
    def handler(self) -> Handler:
        return self.handlers[0]

    def start(self) -> None:
        for handler in self.handlers:
            self.start_handler(handler)
        self.step(BrokerUp())

    def start_handler(self, handler: Handler) -> None:
        self.step(HandlerUp(handler.peer, handler.presence()))

    @property
    def session_id(self) -> str:
        session = self.endpoint.session
        assert session is not None
        return session.session_id

    @property
    def is_up(self) -> bool:
        return self.endpoint.is_up

    def messages(self, kind: type) -> list:
        return [message for _, message in self.published if isinstance(message, kind)]

    @property
    def connects(self) -> list[Connect]:
        return self.messages(Connect)

    @property
    def statuses(self) -> list[Status]:
        return self.messages(Status)

    @property
    def responses(self) -> list[CommandResponse]:
        return self.messages(CommandResponse)

    @property
    def ends(self) -> list[Reason]:
        return [each.reason for each in self.effects if isinstance(each, SessionEnded)]

    @property
    def ups(self) -> int:
        return sum(isinstance(each, SessionUp) for each in self.effects)

    def counted(self, reason: Reason) -> int:
        return sum(each == Count(reason) for each in self.effects)

    def has_stopped(self) -> bool:
        return any(isinstance(each, Stopped) for each in self.effects)

    def is_superseded(self) -> bool:
        return any(isinstance(each, Superseded) for each in self.effects)

    def shape(self) -> list[tuple[str, str, bytes, bytes | None]]:
        """Statuses as (state, role, status, error)."""
        return [
            (DeviceState(each.state).name, each.device.identity.role, each.status, each.error)
            for each in self.statuses
        ]

    # events

    def step(self, event: Event) -> None:
        self._do(self.endpoint.step((event,), self.now, self.unix_ms()))
        self.settle()

    def settle(self) -> None:
        """Let the handlers' messages arrive until nobody says anything."""
        busy = True
        while busy:
            busy = False
            for handler in self.handlers:
                while handler.said:
                    busy = True
                    message = handler.said.popleft()
                    said = HandlerSaid(handler.peer, (message,))
                    self._do(self.endpoint.step((said,), self.now, self.unix_ms()))

    def hear(self, *messages: ServerMessage | None) -> None:
        for message in messages:
            self.step(Noticed() if message is None else Heard(message))

    def status(self, who: Device, status: bytes, **more: object) -> int:
        sequence = self.handler.status(who, status, **more)  # type: ignore[arg-type]
        self.settle()
        return sequence

    def leave(self, who: Device) -> int:
        sequence = self.handler.leave(who)
        self.settle()
        return sequence

    def heartbeat(self, who: Device, *, ends: bool = False) -> None:
        self.handler.heartbeat(who, ends=ends)
        self.settle()

    def broker(self, *, is_up: bool) -> None:
        if not is_up and self.peer is not None:
            self.peer.drop()
        self.step(BrokerUp() if is_up else BrokerDown())

    def link_returns(self) -> None:
        self.step(LinkUp())

    def lose(self, handler: Handler) -> None:
        self.step(HandlerLost(handler.peer))

    def stop(self) -> None:
        self.step(StopAsked())

    def advance(self, seconds: float) -> None:
        """Let time pass, waking the endpoint whenever it wants to be woken."""
        until = self.now + seconds
        for _ in range(100_000):
            deadline = self.endpoint.next_deadline()
            if deadline is None or deadline > until:
                break
            self.now = max(self.now, deadline)
            self.step(Tick())
        else:
            raise AssertionError("the endpoint spins")
        self.now = until
        self.step(Tick())

    def _do(self, effects: list[Effect]) -> None:
        answers: list[ServerMessage | None] = []
        for effect in effects:
            self.effects.append(effect)
            match effect:
                case Publish(message):
                    self.published.append((self.now, message))
                    if self.peer is not None:
                        answers += self.peer.receive(message)
                case Tell(peer, message):
                    for handler in self.handlers:
                        if handler.peer == peer:
                            handler.told(message)
        for answer in answers:
            event = Noticed() if answer is None else Heard(answer)
            self._do(self.endpoint.step((event,), self.now, self.unix_ms()))


def running(*roles: str, **more: object) -> World:
    """A world whose devices are announced in a running session."""
    peer = ControlPlane()
    world = World(peer=peer, starts=False, **more)  # type: ignore[arg-type]
    for role in roles or ("a",):
        world.handler.status(device(role), b"first " + role.encode())
    world.start()
    world.advance(1.0)
    assert world.is_up
    assert world.peer is peer
    return world
