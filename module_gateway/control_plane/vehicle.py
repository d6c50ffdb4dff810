"""One vehicle's session at work: events in order, commit, then publish."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from module_gateway.control_plane import metrics
from module_gateway.control_plane.events import (
    Change,
    CommandFinished,
    CommandSent,
    CommandState,
    CommandWanted,
    Dropped,
    Effect,
    Event,
    MessageReceived,
    Publish,
    PublishDisconnect,
    SessionEnded,
    SessionReady,
    SessionStarted,
    StatusApplied,
    StatusRepeated,
    StopWanted,
    Tick,
)
from module_gateway.control_plane.records import VehicleName
from module_gateway.control_plane.session import Limits, VehicleSession
from module_gateway.control_plane.store import Store
from module_gateway.protocol.errors import BusError, Reason, StoreError
from module_gateway.protocol.external import ClientMessage, Topics, encode
from module_gateway.runtime.log import clean_text, get_logger

INBOX_MESSAGES: Final = 2_000
INBOX_BYTES: Final = 8 * 1024 * 1024
"""What one vehicle may have waiting; beyond it its newest message is dropped, not acknowledged."""

BATCH_EVENTS: Final = 256
"""Events per commit: enough to share its cost, few enough to answer soon."""

_log = get_logger(__name__)


class Vehicle:
    """Owns the session of one vehicle. `post` may be called at any time; `run` does the work."""

    def __init__(
        self,
        name: VehicleName,
        limits: Limits,
        store: Store,
        publish: Callable[[str, bytes], Awaitable[None]],
        on_changes: Callable[[VehicleName, Sequence[Change], int], None],
        *,
        is_notified: bool = False,
    ) -> None:
        """`publish` raises BusError; `on_changes` is told what was committed, and when.

        `is_notified`: an earlier life of ours knew it; it is told that we are here.
        """
        self.name = name
        self._topics = Topics.of(name.company, name.vehicle)
        self._limits = limits
        self._store = store
        self._publish = publish
        self._on_changes = on_changes
        self._is_notification_owed = is_notified
        self._session = VehicleSession(limits)
        self._inbox: deque[tuple[Event | ClientMessage, int]] = deque()
        self._inbox_bytes = 0
        self._wanted: set[str] = set()
        """Commands that were posted or restored, and have no outcome yet."""
        self._news = asyncio.Event()

    def post(self, event: Event) -> None:
        """Let an event of our own follow what is queued. A command is taken once."""
        if isinstance(event, CommandWanted):
            if event.command_id in self._wanted:
                return
            self._wanted.add(event.command_id)
        self._inbox.append((event, 0))
        self._news.set()

    def post_message(self, message: ClientMessage, size_bytes: int) -> bool:
        """Queue a message of the gateway; False when the vehicle is too far behind."""
        is_full = len(self._inbox) >= INBOX_MESSAGES
        if is_full or self._inbox_bytes + size_bytes > INBOX_BYTES:
            return False
        self._inbox.append((message, size_bytes))
        self._inbox_bytes += size_bytes
        self._news.set()
        return True

    async def run(self) -> None:
        """Work until a StopWanted is done.

        Raises:
            StoreError: what is known of the vehicle cannot be loaded.
        """
        await self._load(Reason.SHUTDOWN)
        is_stopping = False
        while not is_stopping:
            await self._wait()
            effects: list[Effect] = []
            room = await self._store.room()
            known_before = self._session.known_devices
            for _ in range(min(len(self._inbox), BATCH_EVENTS)):
                entry, size_bytes = self._inbox.popleft()
                self._inbox_bytes -= size_bytes
                room_left = room - (self._session.known_devices - known_before)
                effects += self._session.step(_event_of(entry, size_bytes, room_left), _now())
                is_stopping |= isinstance(entry, StopWanted)
            if not self._inbox:  # a timer expires only after what was queued before it (R3)
                effects += self._session.step(Tick(), _now())
            await self._carry_out(effects)

    async def _load(self, reason: Reason) -> None:
        """Begin with what the store holds. A session in it is over, for `reason`."""
        at_unix_ms = _unix_ms()
        queued = [e.command_id for e, _ in self._inbox if isinstance(e, CommandWanted)]
        self._wanted = set(queued)  # what the old session had is restored from the store
        positions = await self._store.open_vehicle(self.name, at_unix_ms)
        record = await self._store.vehicle(self.name)
        stale_id = record.session_id if record is not None else None
        ends: list[Change] = [] if stale_id is None else [SessionEnded(stale_id, reason)]
        ends += await self._restore_commands(at_unix_ms)
        if ends:
            await self._store.commit(self.name, ends, at_unix_ms)
        known = [device.identity for device in await self._store.devices(self.name)]
        is_owed = self._is_notification_owed or stale_id is not None
        self._is_notification_owed = False
        self._session = VehicleSession(self._limits, positions, known, is_notification_owed=is_owed)

    async def _restore_commands(self, at_unix_ms: int) -> list[Change]:
        """Let what was never sent wait on; what was sent may or may not have arrived."""
        ends: list[Change] = []
        for command in await self._store.open_commands(self.name):
            device = await self._store.device(self.name, command.identity)
            left_s = (command.expires_unix_ms - at_unix_ms) / 1000
            if command.state is CommandState.SENT:
                ends.append(CommandFinished(command.command_id, CommandState.UNANSWERED))
            elif device is None or left_s <= 0:
                ends.append(CommandFinished(command.command_id, CommandState.EXPIRED))
            else:
                wanted = CommandWanted(
                    command.command_id, device.device, command.command, _now() + left_s
                )
                self.post(wanted)
        return ends

    async def _wait(self) -> None:
        """Until there is something in the inbox, or a deadline."""
        if self._inbox:
            return
        self._news.clear()
        deadline = self._session.next_deadline
        try:
            async with asyncio.timeout_at(deadline):
                await self._news.wait()
        except TimeoutError:
            return

    async def _carry_out(self, effects: Sequence[Effect]) -> None:
        """Commit, then let out what depends on it, in order."""
        changes = [effect for effect in effects if isinstance(effect, Change)]
        if changes:
            at_unix_ms = _unix_ms()
            try:
                await self._store.commit(self.name, changes, at_unix_ms)
            except StoreError as error:
                await self._start_over(error)
                return
            self._on_changes(self.name, changes, at_unix_ms)
        messages: list[tuple[str, bytes]] = []
        for effect in effects:
            match effect:
                case Publish(message):
                    messages.append((self._topics.to_gateway, encode(message)))
                case PublishDisconnect():
                    messages.append((self._topics.disconnect, b""))
                case Dropped(reason, detail):
                    self._report_dropped(reason, detail)
                case _:
                    self._report(effect)
        if messages:
            await asyncio.gather(*(self._send(*message) for message in messages))

    async def _start_over(self, error: StoreError) -> None:
        """Nothing of this batch happened: forget it, and have the gateway send it again (R1)."""
        metrics.DROPPED.labels(reason=Reason.STORE_FAILED).inc()
        _log.error("store_failed", vehicle=str(self.name), error=clean_text(error, 200))
        if self._session.session_id is not None:
            metrics.SESSIONS.dec()
        await self._load(Reason.STORE_FAILED)
        await self._send(self._topics.disconnect, b"")

    async def _send(self, topic: str, payload: bytes) -> None:
        try:
            await self._publish(topic, payload)
        except BusError as error:
            # The link is going down: the session ends with it, and the gateway asks again.
            metrics.PUBLISH_FAILURES.inc()
            _log.debug("publish_failed", vehicle=str(self.name), error=clean_text(error, 200))

    def _report_dropped(self, reason: Reason, detail: str) -> None:
        metrics.DROPPED.labels(reason=reason).inc()
        _log.debug("dropped", vehicle=str(self.name), reason=str(reason), detail=clean_text(detail))

    def _report(self, change: Change) -> None:
        match change:
            case SessionStarted(session_id, devices):
                metrics.SESSIONS_STARTED.inc()
                metrics.SESSIONS.inc()
                _log.info(
                    "session_started",
                    vehicle=str(self.name),
                    session=clean_text(session_id),
                    devices=len(devices),
                )
            case SessionReady(session_id):
                _log.info("session_ready", vehicle=str(self.name), session=clean_text(session_id))
            case SessionEnded(session_id, reason):
                metrics.SESSIONS_ENDED.labels(reason=reason).inc()
                metrics.SESSIONS.dec()
                _log.info(
                    "session_ended",
                    vehicle=str(self.name),
                    session=clean_text(session_id),
                    reason=str(reason),
                )
            case StatusApplied():
                metrics.STATUSES.inc()
            case StatusRepeated():
                metrics.REPEATS.inc()
            case CommandSent():
                metrics.COMMANDS.labels(state=CommandState.SENT).inc()
            case CommandFinished(command_id, outcome):
                self._wanted.discard(command_id)
                metrics.COMMANDS.labels(state=outcome).inc()
            case _:
                pass


def _event_of(entry: Event | ClientMessage, size_bytes: int, room: int) -> Event:
    if isinstance(entry, ClientMessage):
        return MessageReceived(entry, size_bytes, room)
    return entry


def _now() -> float:
    return asyncio.get_running_loop().time()


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
