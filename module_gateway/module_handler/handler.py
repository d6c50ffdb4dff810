"""The module handler process: drain, decide, commit, release (contract R1).

Everything that has arrived becomes one turn of the core, everything that the turn changes one
commit, and only then its messages leave. While a commit runs the inbox grows: an idle handler
has commits of one status, a busy one of hundreds. A turn that cannot be committed never
happened: its messages are dropped and the state is loaded again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from module_gateway.bus.link import Address, Link
from module_gateway.bus.port import Bus
from module_gateway.module_handler import metrics
from module_gateway.module_handler.core import (
    Core,
    Event,
    Heard,
    LinkBroken,
    PageRead,
    PeerLost,
    PeerUp,
)
from module_gateway.module_handler.inbox import Inbox
from module_gateway.module_handler.limits import limits_of, refuse_foreign
from module_gateway.module_handler.reader import PageReader
from module_gateway.module_handler.store import Change, MemoryStore, Page, Store
from module_gateway.module_handler.turn import Turn
from module_gateway.modules.containment import ContainedModule
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason, StoreError
from module_gateway.runtime.health import Progress
from module_gateway.runtime.log import clean_text, get_logger
from module_gateway.runtime.settings import Settings
from module_gateway.runtime.tasks import start_task, stop_tasks

FINISH_LIMIT_S: Final = 3.0
"""For committing and sending what has arrived when the process is asked to stop (design 3.9: the
whole stop has 10 s)."""

RETRY_MIN_S: Final = 0.1
RETRY_MAX_S: Final = 5.0
"""Between attempts on a store that fails. Devices meanwhile get no answer and come again."""

STALL_S: Final = 30.0
"""A flash card may need seconds for one sync; nothing that still works needs so long."""

LATE_S: Final = 0.05
CATCH_UP_TURNS: Final = 5
CATCH_UP_TURN_S: Final = 0.002
"""A deadline that is found LATE_S after its time says that the process stood still: what arrived
meanwhile waits in the sockets, an incumbent's proof of life perhaps (R3, R5). The link gets
CATCH_UP_TURNS of the loop, once per deadline, to read it first: turns, because a process that
stood still once may do so again at once, and time alone would pass without a read."""

FIELD_CHARS: Final = 160
NOTE_LEVELS: Final = {
    "device_connected": logging.DEBUG,  # said by the server that has the connection
    "status_invalid": logging.WARNING,
    "module_failed": logging.WARNING,
}
"""Of the core's notes; every other one is a change of state."""
"""Of one field of a log line: an identity and a name may be long."""

_log = get_logger(__name__)


class ModuleHandler:
    """The owner of the truth about the devices of some modules.

    Attributes:
        link: the process' link, once `run` has loaded the state.
        started: set when the state is loaded and the bus is there for the first time.
    """

    def __init__(
        self,
        settings: Settings,
        modules: Mapping[int, ContainedModule],
        bus: Bus,
        store: Store | None = None,
        health_changed: Callable[[str, bool, str], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        progress: Progress | None = None,
    ) -> None:
        """Prepare a handler.

        Args:
            settings: of the gateway.
            modules: all that are loaded; `module-handler-settings.modules` may choose of them.
            bus: the way to the others.
            store: what survives; by default it lives as long as the process.
            health_changed: told ("bus" or "store", is_ok, detail) on every change.
            clock: monotonic seconds.
            wall: Unix time in seconds; only written down.
            progress: of the process; what waits in the inbox must not stand still.

        Raises:
            ConfigError: the partitions have a wrong form.
        """
        chosen = settings.module_handler_settings.modules
        self._modules: Final = {
            number: module
            for number, module in modules.items()
            if chosen is None or number in chosen
        }
        self._settings = settings
        self._limits = limits_of(settings)
        self._bus = bus
        self._store: Store = MemoryStore() if store is None else store
        self._health_changed = health_changed
        self._clock, self._wall = clock, wall
        self._inbox = Inbox()
        self._turns = (progress or Progress()).expect("turns of the core and commits", STALL_S)
        self._reader = PageReader(self._store, self._page_found, self._read_failed)
        self._has_read_failed = False
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = math.inf
        self._late_for: float | None = None
        self._stop = asyncio.Event()
        self.started = asyncio.Event()
        self.link: Link | None = None

    @property
    def address(self) -> Address:
        """Where others find it. Only after `started`."""
        return self._running_link.address

    async def ready(self) -> None:
        """Wait until it can be talked to."""
        await self.started.wait()

    async def run(self, stop: asyncio.Event) -> None:
        """Load the state and serve until `stop`; then finish what has arrived.

        Raises:
            StoreError: the state cannot be loaded at the start.
            ConfigError: the store holds devices of partitions that this handler does not own.
        """
        self._core, _ = await self._load()
        for name in self._core.sizes():  # asked when somebody looks, not once per turn
            metrics.SIZES.labels(name).set_function(partial(self._size, name))
        self._health_changed("store", True, "")
        self.link = Link(
            self._bus,
            bus_pb2.MODULE_HANDLER,
            self._settings.bus,
            self,
            self._presence,
            clock=self._clock,
        )
        link_task = start_task(self.link.run(), "module-handler-link")
        work_task = start_task(self._work_until_stopped(), "module-handler-work")
        read_task = start_task(self._reader.run(), "module-handler-reads")
        try:
            await _either(stop, work_task)
            self._stop.set()
            self._wake.set()
            async with asyncio.timeout(FINISH_LIMIT_S):
                await asyncio.wait({work_task})
                await self.link.drain()
        except TimeoutError:
            _log.error("stop_incomplete", waited_s=FINISH_LIMIT_S, inbox=len(self._inbox))
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await stop_tasks([work_task, read_task, link_task])

    # What the link tells

    def link_up(self) -> None:
        """See `bus.link.LinkListener`."""
        self._health_changed("bus", True, "")
        self.started.set()
        self._put(LinkBroken(tuple(self._running_link.peers())))

    def link_down(self, reason: str) -> None:
        """See `bus.link.LinkListener`."""
        self._health_changed("bus", False, reason)

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None:
        """See `bus.link.LinkListener`."""
        del presence  # what servers and clients serve is no business of a handler
        self._put(PeerUp(peer))

    def peer_lost(self, peer: Address) -> None:
        """See `bus.link.LinkListener`."""
        _log.info("peer_lost", peer=str(peer))
        self._put(PeerLost(peer))

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        """See `bus.link.LinkListener`."""
        self._put(Heard(sender, messages))

    def _put(self, event: Event) -> None:
        if not self._inbox.put(event) and isinstance(event, Heard):
            metrics.DROPPED.labels(Reason.QUEUE_FULL).inc(len(event.messages))
        self._turns.wait()
        self._wake.set()

    # What the store tells

    def _page_found(self, page: Page) -> None:
        self._put(PageRead(page))

    def _read_failed(self, error: StoreError) -> None:
        """What cannot be read is as bad as what cannot be committed."""
        self._store_failed("read_failed", error)
        self._has_read_failed = True
        self._wake.set()

    def _store_failed(self, event: str, error: StoreError) -> None:
        self._health_changed("store", False, str(error))
        _log.error(event, error=clean_text(error, FIELD_CHARS))

    # Drain, decide, commit, release

    async def _work_until_stopped(self) -> None:
        backoff_s = RETRY_MIN_S
        while not (self._stop.is_set() and not self._inbox):
            await self._wake.wait()
            self._wake.clear()
            while True:
                await self._catch_up()
                turn = self._decide()
                if await self._commit(turn):
                    backoff_s = RETRY_MIN_S
                    self._send(turn)
                    if not self._stop.is_set():
                        self._reader.ask(turn.reads)
                    await asyncio.sleep(0)  # the link goes first: lines of a crowd take long
                    self._record(turn)
                else:
                    await self._pause(backoff_s)
                    backoff_s = min(2 * backoff_s, RETRY_MAX_S)
                    if not await self._reload(turn):
                        return
                self._turns.done(is_more=bool(self._inbox))
                if not self._inbox:
                    break
            self._arm_timer()

    async def _catch_up(self) -> None:
        """Let the link read before a deadline expires that is overdue."""
        due = self._core.next_due()
        if due is not None and due != self._late_for and self._clock() - due > LATE_S:
            self._late_for = due
            for _ in range(CATCH_UP_TURNS):
                await asyncio.sleep(CATCH_UP_TURN_S)

    def _decide(self) -> Turn:
        events = self._inbox.take()
        metrics.INBOX.set(self._inbox.messages)
        with metrics.TURN_DURATION.time():
            return self._core.decide(
                events,
                self._clock(),
                int(self._wall() * 1000),
                is_drained=not self._inbox,
            )

    async def _commit(self, turn: Turn) -> bool:
        """Make the turn permanent; False when it is not, or nobody knows."""
        if self._has_read_failed:
            return False
        if not turn.changes:
            return True
        try:
            with metrics.COMMIT_DURATION.time():
                await self._store.commit(turn.changes)
        except StoreError as error:
            metrics.DROPPED.labels(Reason.STORE_FAILED).inc(len(turn.sends))
            self._store_failed("commit_failed", error)
            return False
        metrics.CHANGES.inc(len(turn.changes))
        return True

    def _send(self, turn: Turn) -> None:
        """Now it is true: say it."""
        link = self._running_link
        for send in turn.sends:
            link.send(send.receiver, send.message)  # what the link refuses, it counts

    def _record(self, turn: Turn) -> None:
        """Count it and write it down."""
        for reason, times in turn.counts.items():
            metrics.DROPPED.labels(reason).inc(times)
        for note in turn.notes:
            fields = {
                key: clean_text(value, FIELD_CHARS) if isinstance(value, str | bytes) else value
                for key, value in note.fields.items()
            }
            _log.log(NOTE_LEVELS.get(note.event, logging.INFO), note.event, **fields)
        metrics.APPLIED.inc(turn.applied)
        metrics.PUBLISHED.inc(turn.publications)

    def _size(self, name: str) -> float:
        return self._core.sizes()[name]

    async def _reload(self, failed: Turn) -> bool:
        """Forget everything that was decided since the last commit, as soon as that is of use.

        Something that is stored already is stored once more: a store that can be read but not
        written, as the disk is full, is left alone, and devices come again.

        Args:
            failed: the turn that is not committed.

        Returns:
            False when the process is to stop meanwhile: what it knows is not committed then.
        """
        backoff_s = RETRY_MIN_S
        while not self._stop.is_set():
            try:
                core, stored = await self._load()
                await self._store.commit(stored)
            except StoreError as error:
                self._store_failed("store_still_failing", error)
                self._turns.done(is_more=True)  # in vain, but it goes on
                await self._pause(backoff_s)
                backoff_s = min(2 * backoff_s, RETRY_MAX_S)
                continue
            core.inherit(self._core, failed)
            self._core = core
            self._reader.forget()
            self._inbox.forget_pages()
            self._has_read_failed = False
            self._inbox.put_first(LinkBroken(tuple(self._running_link.peers())))
            self._health_changed("store", True, "")
            return True
        return False

    async def _load(self) -> tuple[Core, Sequence[Change]]:
        """A new core, and something of what is stored."""
        state = await self._store.load()
        refuse_foreign(state, self._limits.connections.partitions)
        entries = sum(extent.entries for log in state.logs for extent in log.extents)
        _log.info("state_loaded", devices=len(state.devices), entries=entries)
        store_id = self._store.store_id
        core = Core(self._limits, self._modules, store_id, state, self._clock())
        return core, (*state.devices[:1], *state.leases[:1])

    async def _pause(self, pause_s: float) -> None:
        """Leave a failing store alone for a while, unless the process is to stop."""
        try:
            async with asyncio.timeout(pause_s):
                await self._stop.wait()
        except TimeoutError:
            return

    def _arm_timer(self) -> None:
        """Wake up when the core has something to do without being told anything."""
        due = self._core.next_due()
        if due is None or due >= self._timer_due:
            return  # a timer that comes too early finds nothing to do, and is armed anew
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0.0, due - self._clock())
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._timer_ended)

    def _timer_ended(self) -> None:
        self._timer_due = math.inf
        self._wake.set()

    @property
    def _running_link(self) -> Link:
        if self.link is None:
            raise RuntimeError("the handler does not run yet")
        return self.link

    def _presence(self) -> bus_pb2.Presence:
        presence = bus_pb2.Presence()
        for number in self._modules:
            presence.served.add(module=number, partitions=self._limits.connections.partitions)
        return presence


async def _either(stop: asyncio.Event, work: asyncio.Task[None]) -> None:
    """Return when `stop` is set or the work has ended by itself, which only a defect makes it."""
    waiting = start_task(_wait_for(stop), "module-handler-stop")
    try:
        await asyncio.wait({waiting, work}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await stop_tasks([waiting])


async def _wait_for(stop: asyncio.Event) -> None:
    await stop.wait()
