"""A core on a virtual clock, with internal servers and external clients that a test speaks for."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from module_gateway.bus.address import Address
from module_gateway.module_handler.connections import ConnectionLimits
from module_gateway.module_handler.core import Core, CoreLimits, Event, Heard, PageRead
from module_gateway.module_handler.delivery import Window
from module_gateway.module_handler.devices import DeviceLimits
from module_gateway.module_handler.outbox import Bounds
from module_gateway.module_handler.store import LogQuery, MemoryStore
from module_gateway.module_handler.turn import Turn
from module_gateway.module_handler.upstream import UpstreamLimits
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device, Identity
from tests.unit.module_handler.scripted_module import ScriptedModule

Result = TypeVar("Result")

MODULE = 7
SERVER = Address(bus_pb2.INTERNAL_SERVER, 11)
OTHER_SERVER = Address(bus_pb2.INTERNAL_SERVER, 12)
CLIENT = Address(bus_pb2.EXTERNAL_CLIENT, 21)
ENDPOINT = 0
EPOCH = 100


def device(role: str = "a", priority: int = 0, name: str = "", device_type: int = 0) -> Device:
    return Device(Identity(MODULE, device_type, role), name or f"name of {role}", priority)


def limits(
    entries: int = 1_000,
    window: int = 2_000,
    max_identities: int = 20_000,
    grace_s: float = 2.0,
    *,
    is_replayed: bool = False,
    total_bytes: int = 1 << 40,
    age_s: float = 1e6,
    deep_entries: int = 4_000,
) -> CoreLimits:
    upstream = UpstreamLimits(
        Bounds(entries, 4 * 1024 * 1024),
        Window(window, 8 * 1024 * 1024),
        total_bytes,
        age_s,
        frozenset({MODULE} if is_replayed else ()),
        deep_entries,
    )
    return CoreLimits(
        upstream,
        DeviceLimits(grace_s=grace_s),
        ConnectionLimits(max_identities=max_identities),
    )


LIMITS = limits()


def at_once(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


# What servers say


def connect(instance: int, who: Device) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.connect_request.instance = instance
    who.write_to(message.connect_request.device)
    return message


def status(instance: int, sequence: int, payload: bytes) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.status_request.instance = instance
    message.status_request.sequence = sequence
    message.status_request.status = payload
    return message


def ended(instance: int, cause: int = bus_pb2.CLOSED_BY_PEER) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.connection_ended.instance = instance
    message.connection_ended.cause = cause
    return message


def probe_answer(instance: int, *, is_alive: bool = True) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.probe_answer.instance = instance
    message.probe_answer.is_alive = is_alive
    return message


def live_digest(count: int, digest: int) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.live_digest.count = count
    message.live_digest.digest = digest
    return message


def live(
    *lines: tuple[int, Device, int],
    is_decided: bool = True,
    is_first: bool = True,
    is_last: bool = True,
) -> bus_pb2.Message:
    message = bus_pb2.Message()
    listed = message.live_connections
    listed.is_first, listed.is_last = is_first, is_last
    for instance, who, last_sequence in lines:
        line = listed.connections.add(
            instance=instance, last_sequence=last_sequence, is_decided=is_decided
        )
        who.write_to(line.device)
    return message


# What clients say


def lease(
    epoch: int = EPOCH, endpoint: int = ENDPOINT, held_stores: Iterable[int] = ()
) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.lease.endpoint = endpoint
    message.lease.epoch = epoch
    message.lease.modules.append(MODULE)
    message.lease.held_stores.extend(held_stores)
    return message


def receipt(
    delivery: int, epoch: int = EPOCH, lane: bus_pb2.Lane = bus_pb2.FOLDED
) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.delivery_receipt.endpoint = ENDPOINT
    message.delivery_receipt.epoch = epoch
    message.delivery_receipt.delivery = delivery
    message.delivery_receipt.lane = lane
    return message


def outbox_ack(
    who: Device, sequence: int, epoch: int = EPOCH, first_sequence: int = 0
) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.outbox_ack.endpoint = ENDPOINT
    message.outbox_ack.epoch = epoch
    stretch = message.outbox_ack.acknowledged.add()
    stretch.sequence, stretch.first_sequence = sequence, first_sequence
    who.write_to(stretch.device)
    return message


def forward(
    who: Device, command: bytes, counter: int = 1, session: int = 1, epoch: int = EPOCH
) -> bus_pb2.Message:
    message = bus_pb2.Message()
    forwarded = message.command_forward
    forwarded.endpoint, forwarded.epoch = ENDPOINT, epoch
    forwarded.session, forwarded.counter = session, counter
    forwarded.command = command
    who.write_to(forwarded.device)
    return message


def snapshot_request(request: int, epoch: int = EPOCH) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.snapshot_request.endpoint = ENDPOINT
    message.snapshot_request.epoch = epoch
    message.snapshot_request.request = request
    return message


def phase(
    number: int, session: int = 1, epoch: int = EPOCH, *, splits: bool = False
) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.session_phase.endpoint = ENDPOINT
    message.session_phase.epoch = epoch
    message.session_phase.phase = number
    message.session_phase.session = session
    message.session_phase.splits_live = splits
    return message


EXPOSED = bus_pb2.SessionPhase.EXPOSED
OFFLINE = bus_pb2.SessionPhase.OFFLINE


class Rig:
    """The core, its store, and a clock that only `pass_time` moves."""

    def __init__(self, core_limits: CoreLimits = LIMITS, *, push_only: bool = False) -> None:
        self.module = ScriptedModule(push_only=push_only)
        self.limits = core_limits
        self.store = MemoryStore()
        self.now = 1_000.0
        self.counter = 0
        self.core = self._new_core()

    def _new_core(self) -> Core:
        state = at_once(self.store.load())
        return Core(self.limits, {MODULE: self.module}, self.store.store_id, state, self.now)

    def restart(self) -> None:
        """A crash: only what was committed is known afterwards."""
        self.core = self._new_core()

    def decide(self, *events: Event) -> Turn:
        """A turn, and those in which the pages that it asked for arrive, as if they were one."""
        turn = self.decide_once(*events)
        reads = turn.reads
        while reads:
            pages = [PageRead(at_once(self.store.read(query))) for query in reads]
            more = self.decide_once(*pages)
            turn.changes += more.changes
            turn.sends += more.sends
            turn.counts += more.counts
            reads = more.reads
        return turn

    def decide_once(self, *events: Event) -> Turn:
        """One turn; what it wants to read is left to the caller."""
        turn = self.core.decide(events, self.now, self.unix_ms())
        at_once(self.store.commit(turn.changes))
        return turn

    def unix_ms(self) -> int:
        """The wall clock goes with the other one."""
        return 1_700_000_000_000 + int(self.now * 1000)

    def hear(self, *messages: bus_pb2.Message, sender: Address = SERVER) -> Turn:
        return self.decide(Heard(sender, messages))

    def pass_time(self, seconds: float) -> Turn:
        self.now += seconds
        return self.decide()

    # Shorthand

    def connected(self, who: Device, instance: int = 1, sender: Address = SERVER) -> None:
        turn = self.hear(connect(instance, who), sender=sender)
        assert [0] == [v.response for v in bodies(turn, "connect_verdict")]

    def registered(
        self, who: Device, instance: int = 1, payload: bytes = b"s1", sender: Address = SERVER
    ) -> None:
        self.connected(who, instance, sender)
        turn = self.hear(status(instance, 1, payload), sender=sender)
        assert 1 == len(bodies(turn, "status_reply"))

    def leased(self) -> list[Any]:
        """The deliveries with which a lease begins."""
        return bodies(self.hear(lease(), sender=CLIENT), "delivery")

    def command(self, who: Device, command: bytes) -> int:
        """Forward one more command; the verdict."""
        self.counter += 1
        turn = self.hear(forward(who, command, self.counter), sender=CLIENT)
        (verdict,) = bodies(turn, "command_verdict")
        return int(verdict.response)

    def outbox(self, who: Device) -> list[Any]:
        """The committed entries of a device."""
        return list(at_once(self.store.read(LogQuery(who.identity, 2**31))).entries)


def bodies(turn: Turn, kind: str) -> list[Any]:
    """The messages of one kind that the turn sends."""
    return [
        getattr(send.message, kind)
        for send in turn.sends
        if send.message.WhichOneof("body") == kind
    ]


def kinds(turn: Turn) -> list[str | None]:
    """What the turn sends, in order."""
    return [send.message.WhichOneof("body") for send in turn.sends]


def answers(turn: Turn) -> list[bytes]:
    """The commands with which statuses were answered."""
    return [reply.command for reply in bodies(turn, "status_reply")]


def published(entries: Iterable[Any]) -> list[bytes]:
    return [entry.status for entry in entries]
