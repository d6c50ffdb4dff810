"""The shells of the external client and of the control plane, round their pure parts."""

from __future__ import annotations

import string
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from module_gateway.bus.address import Address
from module_gateway.control_plane import events as plane_events
from module_gateway.control_plane.events import (
    Change,
    CommandState,
    MessageReceived,
    PublishDisconnect,
)
from module_gateway.control_plane.events import Publish as PlanePublish
from module_gateway.control_plane.memory_store import MemoryStore
from module_gateway.control_plane.records import CommandRecord, VehicleName
from module_gateway.control_plane.session import Limits, VehicleSession
from module_gateway.control_plane.store import StoreFullError, StoreLimits
from module_gateway.external_client.backoff import Backoff, Pause
from module_gateway.external_client.effects import Count, Publish, Superseded, Tell
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
    Tick,
)
from module_gateway.external_client.leases import Leases
from module_gateway.external_client.quarantine import Quarantine
from module_gateway.external_client.retry import Retry
from module_gateway.external_client.rules import Rules
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import Command
from module_gateway.protocol.identity import Device
from tests.simulation.handler import MODULE
from tests.simulation.schedule import Alarm, Life
from tests.simulation.wires import SimLink, read_client_message, read_server_message
from tests.unit.module_handler.rig import at_once

if TYPE_CHECKING:
    from tests.simulation.world import World

LETTERS = string.digits + string.ascii_letters
VEHICLE = VehicleName("acme", "van")


class SimClient:
    """One life of the external client."""

    def __init__(self, world: World) -> None:
        self._world = world
        schedule = world.schedule
        chance = schedule.rng.random
        self.life = Life()
        self.is_superseded = False
        retry = Retry(Backoff(1.0, 10.0, chance), Pause(1.0, 2.0, chance), chance)
        modules = {MODULE: world.module}
        self.endpoint = Endpoint(
            Leases(0, schedule.unix_ms * 1_000_000, modules),
            Rules(VEHICLE.company, VEHICLE.vehicle, modules, replay_modules=world.replayed_modules),
            retry,
            Quarantine(30.0, 600.0),
            lambda: "".join(schedule.rng.choice(LETTERS) for _ in range(8)),
        )
        self._alarm = Alarm(schedule, self.life, lambda: self.feed(Tick()))
        self.link = SimLink(world.bus, schedule, self.life, bus_pb2.EXTERNAL_CLIENT, self)
        side = world.upstream.gateway
        side.heard, side.came, side.went = self._heard, self._came, self._went
        self.link.start()
        self._reconnect()

    def crash(self) -> None:
        self.life.end()
        self.link.end()
        self._world.upstream.gateway.went = lambda: None
        self._world.upstream.down(self._world.upstream.gateway)

    def feed(self, event: Event) -> None:
        world = self._world
        for effect in self.endpoint.step((event,), world.schedule.now, world.schedule.unix_ms):
            match effect:
                case Publish(message):
                    world.schedule.say("gateway:", message)
                    world.upstream.from_gateway(message)
                case Tell(peer, message):
                    if message.WhichOneof("body") != "command_forward":
                        world.schedule.say("client tells", " ".join(str(message).split()))
                    self.link.send(Address(bus_pb2.MODULE_HANDLER, peer), message)
                case Count(reason, amount):
                    world.count(reason, amount)
                case Superseded():
                    self.is_superseded = True
                case _:
                    world.schedule.say("client:", effect)
        if self.is_superseded:
            world.ledger.counts["superseded"] += 1
            world.restart_client()
            return
        self._alarm.set(self.endpoint.next_deadline())

    # The broker

    def _reconnect(self) -> None:
        world = self._world
        if world.is_gateway_cut:
            world.schedule.after(0.5 * world.schedule.rng.random(), self._reconnect, life=self.life)
        else:
            world.upstream.up(world.upstream.gateway)

    def _came(self) -> None:
        self.feed(BrokerUp())

    def _went(self) -> None:
        notice_s = self._world.schedule.rng.choice((0.0, 0.0, 1.0, 5.0))
        self._world.schedule.after(notice_s, self._noticed_end, life=self.life)

    def _noticed_end(self) -> None:
        self.feed(BrokerDown())
        self._world.schedule.after(
            self._world.schedule.rng.random(), self._reconnect, life=self.life
        )

    def _heard(self, payload: bytes | None) -> None:
        self.feed(Noticed() if payload is None else Heard(read_server_message(payload)))

    # LinkListener

    def link_up(self) -> None:
        self.feed(LinkUp())

    def link_down(self, reason: str) -> None:
        pass

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None:
        if peer.kind == bus_pb2.MODULE_HANDLER:
            self.feed(HandlerUp(peer.boot_id, presence))

    def peer_lost(self, peer: Address) -> None:
        if peer.kind == bus_pb2.MODULE_HANDLER:
            self.feed(HandlerLost(peer.boot_id))

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        self.feed(HandlerSaid(sender.boot_id, messages))


class SimPlane:
    """One life of the control plane, as `control_plane.vehicle.Vehicle` runs it."""

    def __init__(self, world: World, store: MemoryStore) -> None:
        self._world, self._store = world, store
        self.life = Life()
        self._inbox: deque[plane_events.Event] = deque()
        self._is_committing = False
        self._load(Reason.SHUTDOWN)
        self._alarm = Alarm(world.schedule, self.life, self._work)
        side = world.upstream.plane
        side.heard, side.came, side.went = self._heard, self._came, self._went
        self._reconnect()

    @property
    def session(self) -> VehicleSession:
        return self._session

    def crash(self) -> None:
        self.life.end()
        self._world.upstream.plane.went = lambda: None
        self._world.upstream.down(self._world.upstream.plane)

    def command(self, device: Device, command: bytes, number: int) -> None:
        """Somebody posts a command."""
        at = self._world.schedule.unix_ms
        record = CommandRecord(
            str(number),
            VEHICLE,
            device.identity,
            command,
            CommandState.WAITING,
            at,
            at,
            at + 60_000,
        )
        try:
            at_once(self._store.add_command(record))
        except StoreFullError:
            return
        expires_at = self._world.schedule.now + 60.0
        self._put(plane_events.CommandWanted(str(number), device, command, expires_at))

    def _load(self, reason: Reason) -> None:
        at = self._world.schedule.unix_ms
        positions = at_once(self._store.open_vehicle(VEHICLE, at))
        record = at_once(self._store.vehicle(VEHICLE))
        stale_id = record.session_id if record is not None else None
        if stale_id is not None:
            ended = plane_events.SessionEnded(stale_id, reason)
            at_once(self._store.commit(VEHICLE, [ended], at))
        known = [each.device.identity for each in at_once(self._store.devices(VEHICLE))]
        self._session = VehicleSession(
            Limits(), positions, known, is_notification_owed=stale_id is not None
        )

    # The broker

    def _reconnect(self) -> None:
        world = self._world
        if world.is_plane_cut:
            world.schedule.after(0.5 * world.schedule.rng.random(), self._reconnect, life=self.life)
        else:
            world.upstream.up(world.upstream.plane)

    def _came(self) -> None:
        self._put(plane_events.LinkRestored())

    def _went(self) -> None:
        notice_s = self._world.schedule.rng.choice((0.0, 0.0, 1.0, 5.0))
        self._world.schedule.after(notice_s, self._noticed_end, life=self.life)

    def _noticed_end(self) -> None:
        self._put(plane_events.LinkLost())
        self._world.schedule.after(
            self._world.schedule.rng.random(), self._reconnect, life=self.life
        )

    def _heard(self, payload: bytes | None) -> None:
        message = read_client_message(payload)
        self._put(MessageReceived(message, len(payload or b""), 1_000))

    # Decide, commit, publish

    def _put(self, event: plane_events.Event) -> None:
        self._inbox.append(event)
        if not self._is_committing:
            self._world.schedule.after(0.0, self._work, life=self.life)

    def _work(self) -> None:
        if self._is_committing:
            return
        world = self._world
        effects: list[plane_events.Effect] = []
        while self._inbox:
            effects += self._session.step(self._inbox.popleft(), world.schedule.now)
        effects += self._session.step(plane_events.Tick(), world.schedule.now)
        changes = [effect for effect in effects if isinstance(effect, Change)]
        if not changes:
            self._release(effects)
            return
        self._is_committing = True
        rng = world.schedule.rng
        commit_s = rng.expovariate(500.0)
        if rng.random() < world.chances.plane_failure:
            kept = changes if rng.random() < 0.5 else []
            world.schedule.after(commit_s, self._failed, kept, life=self.life)
            return
        kept_at = world.schedule.now + commit_s * rng.random()
        world.schedule.at(kept_at, self._apply, changes, life=self.life)
        world.schedule.after(commit_s, self._committed, effects, life=self.life)

    def _apply(self, changes: list[Change]) -> None:
        at_once(self._store.commit(VEHICLE, changes, self._world.schedule.unix_ms))
        for change in changes:
            match change:
                case plane_events.StatusApplied():
                    self._world.ledger.status_stored(change)
                case plane_events.StatusRepeated():
                    self._world.ledger.counts["upstream repeats dropped"] += 1
                case plane_events.SessionReady():
                    self._world.ledger.counts["sessions"] += 1

    def _committed(self, effects: list[plane_events.Effect]) -> None:
        self._is_committing = False
        self._release(effects)
        if self._inbox:
            self._world.schedule.after(0.0, self._work, life=self.life)

    def _release(self, effects: list[plane_events.Effect]) -> None:
        for effect in effects:
            match effect:
                case PlanePublish(message):
                    self._world.schedule.say("plane:", message)
                    if isinstance(message, Command):
                        self._world.ledger.command_sent(message.command)
                    self._world.upstream.from_plane(message)
                case PublishDisconnect():
                    self._world.schedule.say("plane: disconnect")
                    self._world.upstream.from_plane(None)
                case plane_events.Dropped(reason):
                    self._world.count(reason)
        self._alarm.set(self._session.next_deadline)

    def _failed(self, kept: list[Change]) -> None:
        self._apply(kept)
        self._load(Reason.STORE_FAILED)
        self._is_committing = False
        self._world.upstream.from_plane(None)
        self._world.schedule.after(0.0, self._work, life=self.life)


def plane_store() -> MemoryStore:
    return MemoryStore(StoreLimits(history_statuses=10))
