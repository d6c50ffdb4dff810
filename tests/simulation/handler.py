"""The shell of the module handler, and a store whose commits take time, fail and lose answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from module_gateway.bus.address import Address
from module_gateway.module_handler.connections import ConnectionLimits
from module_gateway.module_handler.core import (
    Core,
    CoreLimits,
    Event,
    Heard,
    LinkBroken,
    PageRead,
    PeerLost,
    PeerUp,
)
from module_gateway.module_handler.delivery import Window
from module_gateway.module_handler.devices import DeviceLimits
from module_gateway.module_handler.inbox import Inbox
from module_gateway.module_handler.outbox import Bounds
from module_gateway.module_handler.store import (
    Change,
    DeviceStored,
    EntriesFolded,
    EntryAppended,
    LogQuery,
    MemoryStore,
    Query,
)
from module_gateway.module_handler.turn import Turn
from module_gateway.module_handler.upstream import UpstreamLimits
from module_gateway.protocol import bus_pb2
from tests.simulation.schedule import Alarm, Life
from tests.simulation.wires import SILENCE_S, SimLink
from tests.unit.module_handler.rig import at_once

if TYPE_CHECKING:
    from tests.simulation.world import World

MODULE = 7
SMALL_LOG = 6
"""Entries of a log: a bound that is passed again and again."""


class SimStore(MemoryStore):
    """What survives the handler. Everything that it applies is written into the ledger."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._store_id = world.schedule.rng.getrandbits(63) + 1

    def apply_all(self, changes: Sequence[Change]) -> None:
        ledger = self._world.ledger
        for change in changes:
            match change:
                case EntryAppended(entry):
                    ledger.entry_stored(entry)
                case DeviceStored(identity, _, registration) if registration is not None:
                    ledger.roll_stored(identity, registration.status)
                case EntriesFolded(fold):
                    ledger.fold_stored(fold)
                    self._world.schedule.say(
                        "folded:", fold.first_sequence, fold.sequence, fold.error
                    )
        at_once(self.commit(changes))


def limits(
    log_entries: int, window: int, replayed: frozenset[int], deep_entries: int
) -> CoreLimits:
    return CoreLimits(
        UpstreamLimits(
            Bounds(log_entries, 4 * 1024 * 1024),
            Window(window, 8 * 1024 * 1024),
            replayed=replayed,
            deep_entries=deep_entries,
        ),
        DeviceLimits(),
        ConnectionLimits(silence_s=SILENCE_S),
    )


def new_core(world: World, store: SimStore) -> tuple[Core, Sequence[Change]]:
    """As `ModuleHandler._load` does it: a core, and something of what is stored."""
    state = at_once(store.load())
    modules = {MODULE: world.module}
    core = Core(world.limits, modules, store.store_id, state, world.schedule.now)
    return core, (*state.devices[:1], *state.leases[:1])


class SimHandler:
    """One life of the handler: drain, decide, commit, release."""

    def __init__(self, world: World, store: SimStore) -> None:
        self._world, self._store = world, store
        self.life = Life()
        self.core, _ = new_core(world, store)
        self._inbox = Inbox()
        self._is_committing = False
        self._waiting: dict[object, Query] = {}
        self._is_reading = self._has_read_failed = False
        self._alarm = Alarm(world.schedule, self.life, self._work)
        self.link = SimLink(
            world.bus, world.schedule, self.life, bus_pb2.MODULE_HANDLER, self, self._presence
        )
        self.link.start()
        self._alarm.set(self.core.next_due())

    def crash(self) -> None:
        self.life.end()
        self.link.end()

    def _presence(self) -> bus_pb2.Presence:
        presence = bus_pb2.Presence()
        presence.served.add(module=MODULE, partitions=2**64 - 1)
        return presence

    # LinkListener

    def link_up(self) -> None:
        self._put(LinkBroken(tuple(self.link.peers())))

    def link_down(self, reason: str) -> None:
        pass

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None:
        self._put(PeerUp(peer))

    def peer_lost(self, peer: Address) -> None:
        self._put(PeerLost(peer))

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        self._put(Heard(sender, messages))

    # Drain, decide, commit, release

    def _put(self, event: Event) -> None:
        self._inbox.put(event)
        if not self._is_committing:
            self._world.schedule.after(0.0, self._work, life=self.life)

    def _work(self) -> None:
        if self._is_committing:
            return
        world = self._world
        rng = world.schedule.rng
        events = self._inbox.take(rng.choice((1, 2_000)))
        turn = self.core.decide(
            events, world.schedule.now, world.schedule.unix_ms, is_drained=not self._inbox
        )
        if not turn.changes and not self._has_read_failed:
            self._committed(turn)
            return
        self._is_committing = True
        commit_s = rng.expovariate(200.0)
        if self._has_read_failed or rng.random() < world.chances.commit_failure:
            is_kept = not self._has_read_failed and rng.random() < 0.5  # nobody knows
            world.schedule.say("commit fails, kept:", is_kept)
            world.schedule.after(commit_s, self._failed, turn, is_kept, life=self.life)
            return
        # A crash in the middle: the change is on the disk at some time before the answer.
        kept_at = world.schedule.now + commit_s * rng.random()
        world.schedule.at(kept_at, self._store.apply_all, turn.changes, life=self.life)
        world.schedule.after(commit_s, self._committed, turn, life=self.life)

    def _committed(self, turn: Turn) -> None:
        self._is_committing = False
        for send in turn.sends:
            if self._world.schedule.trace is not None and send.message.HasField("delivery"):
                each = send.message.delivery
                self._world.schedule.say(
                    "delivery", each.delivery, each.device.deviceRole, each.sequence, each.lane
                )
            self.link.send(send.receiver, send.message)
        for query in turn.reads:
            self._waiting[_asker(query)] = query
        self._read_soon()
        for reason, times in turn.counts.items():
            self._world.count(reason, times)
        self._alarm.set(self.core.next_due())
        if self._inbox:
            self._world.schedule.after(0.0, self._work, life=self.life)

    # Reads, as `module_handler.reader` does them

    def _read_soon(self) -> None:
        if self._waiting and not self._is_reading:
            self._is_reading = True
            asker = next(iter(self._waiting))
            delay_s = self._world.schedule.rng.expovariate(200.0)
            query = self._waiting.pop(asker)
            self._world.schedule.after(delay_s, self._read, query, self.core, life=self.life)

    def _read(self, query: Query, asker: Core) -> None:
        self._is_reading = False
        if asker is self.core:
            if self._world.schedule.rng.random() < self._world.chances.commit_failure / 4:
                self._has_read_failed = True
                self._world.schedule.after(0.0, self._work, life=self.life)
            else:
                self._put(PageRead(at_once(self._store.read(query))))
        self._read_soon()

    # A commit that failed

    def _failed(self, turn: Turn, is_kept: bool) -> None:
        if is_kept:
            self._store.apply_all(turn.changes)
        self._world.schedule.after(0.1, self._reload, turn, life=self.life)

    def _reload(self, failed: Turn) -> None:
        if self._world.schedule.rng.random() < self._world.chances.commit_failure:
            self._world.schedule.after(0.2, self._reload, failed, life=self.life)
            return
        core, stored = new_core(self._world, self._store)
        self._store.apply_all(stored)
        core.inherit(self.core, failed)
        self.core = core
        self._waiting.clear()
        self._inbox.forget_pages()
        self._has_read_failed = self._is_committing = False
        self._inbox.put_first(LinkBroken(tuple(self.link.peers())))
        self._world.schedule.after(0.0, self._work, life=self.life)


def _asker(query: Query) -> object:
    return query.identity if isinstance(query, LogQuery) else (query.endpoint, query.lane)
