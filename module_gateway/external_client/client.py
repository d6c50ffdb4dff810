"""The external client: one link to the handlers, one task per control plane."""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from module_gateway.bus.link import Address, Link
from module_gateway.bus.port import Bus
from module_gateway.external_client.backoff import Backoff, Pause
from module_gateway.external_client.endpoint import Endpoint
from module_gateway.external_client.endpoint_task import EndpointTask, Place
from module_gateway.external_client.error_aggregator import ErrorModule
from module_gateway.external_client.events import (
    Event,
    HandlerLost,
    HandlerSaid,
    HandlerUp,
    LinkUp,
)
from module_gateway.external_client.leases import FROM_HANDLER, Leases
from module_gateway.external_client.quarantine import Quarantine
from module_gateway.external_client.retry import Retry
from module_gateway.external_client.rules import Rules
from module_gateway.external_client.tls import make_context
from module_gateway.external_client.upstream import Target
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.external import Topics
from module_gateway.runtime.health import Progress
from module_gateway.runtime.log import get_logger
from module_gateway.runtime.settings import Settings
from module_gateway.runtime.tasks import start_task, stop_tasks

SESSION_ID_LENGTH: Final = 8
SESSION_ID_LETTERS: Final = string.digits + string.ascii_letters
"""Fleet-protocol D10, E3."""

DRAIN_S: Final = 0.5
"""For the last acknowledgements on the local bus at a stop."""

_HANDLER: Final = int(bus_pb2.MODULE_HANDLER)
_chance: Final = secrets.SystemRandom().random
_log = get_logger(__name__)


def new_session_id() -> str:
    """Unguessable, and never that of an earlier attempt."""
    return "".join(secrets.choice(SESSION_ID_LETTERS) for _ in range(SESSION_ID_LENGTH))


def client_ids(settings: Settings) -> list[str]:
    """MQTT client id of each endpoint: `company/vehicle`.

    Further endpoints on the same broker get a number behind it: they would evict each other
    otherwise (G-24).
    """
    connection = settings.external_connection
    base = f"{connection.company}/{connection.vehicle_name}"
    seen: dict[tuple[str, int], int] = {}
    ids: list[str] = []
    for endpoint in connection.endpoints:
        broker = (endpoint.server_ip, endpoint.port)
        seen[broker] = seen.get(broker, 0) + 1
        ids.append(base if seen[broker] == 1 else f"{base}/{seen[broker]}")
    return ids


def modules_of(settings: Settings) -> list[tuple[int, ...]]:
    """Modules of each endpoint; a module belongs to the first endpoint that lists it."""
    taken: set[int] = set()
    result: list[tuple[int, ...]] = []
    for endpoint in settings.external_connection.endpoints:
        own = tuple(each for each in dict.fromkeys(endpoint.modules) if each not in taken)
        taken.update(own)
        result.append(own)
    return result


def replay_modules(settings: Settings) -> frozenset[int]:
    """Modules whose settings say `replay`: after an outage each stored status is sent (R18)."""
    return frozenset(
        int(number)
        for number, own in settings.module_settings.items()
        if number.isdecimal() and own.get("replay") is True
    )


class ExternalClient:
    """Owns the sessions to all control planes. Also the `LinkListener` of its link."""

    def __init__(
        self,
        settings: Settings,
        modules: Mapping[int, ErrorModule],
        bus: Bus,
        *,
        health_changed: Callable[[str, bool, str], None] = lambda *_: None,
        epoch: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Prepare a client; `run` brings it to life.

        Args:
            settings: all of them.
            modules: by number, for error aggregation and device types.
            bus: the way to the handlers.
            health_changed: told (check, is_ok, detail).
            epoch: of this life (R17); by default the wall clock. `Leases` copes if it went back.
            progress: of the process.

        Raises:
            ConfigError: TLS is asked for and incomplete.
        """
        self.started: Final = asyncio.Event()
        self._settings = settings
        self._health_changed = health_changed
        self._failure: Exception | None = None
        self._failed = asyncio.Event()
        kind = int(bus_pb2.EXTERNAL_CLIENT)
        self._link = Link(bus, kind, settings.bus, self, progress=progress)
        self._handlers: set[Address] = set()
        epoch = time.time_ns() if epoch is None else epoch
        numbers = modules_of(settings)
        ids = client_ids(settings)
        self.endpoints: Final = tuple(
            self._endpoint(
                Place(index, endpoint),
                ids[index],
                {each: modules[each] for each in numbers[index] if each in modules},
                epoch,
            )
            for index, endpoint in enumerate(settings.external_connection.endpoints)
        )

    def _endpoint(
        self, place: Place, client_id: str, modules: Mapping[int, ErrorModule], epoch: int
    ) -> EndpointTask:
        make_context(place.settings, place.where)
        connection = self._settings.external_connection
        own = self._settings.external_client_settings
        handler = self._settings.module_handler_settings
        rules = Rules(
            connection.company,
            connection.vehicle_name,
            modules,
            own.step_timeout_ms / 1000,
            own.status_timeout_ms / 1000,
            own.settle_ms / 1000,
            own.stop_wait_ms / 1000,
            own.unacknowledged,
            replay_modules=replay_modules(self._settings) & modules.keys(),
            lane_window=(handler.delivery_window, handler.delivery_window_bytes),
        )
        target = Target(
            place.settings.server_ip,
            place.settings.port,
            client_id,
            Topics.of(connection.company, connection.vehicle_name),
            own.keepalive_s,
            own.connect_timeout_ms / 1000,
        )
        core = Endpoint(
            Leases(place.index, epoch, modules),
            rules,
            Retry(self._backoff(), self._pause(), _chance),
            Quarantine(own.quarantine_min_ms / 1000, own.quarantine_max_ms / 1000),
            new_session_id,
            self._settings.internal_server_settings.inactivity_ms / 1000,
        )
        return EndpointTask(
            place, core, target, self._link, self._backoff(), self._fail, self._health_changed
        )

    def _backoff(self) -> Backoff:
        own = self._settings.external_client_settings
        return Backoff(own.backoff_min_ms / 1000, own.backoff_max_ms / 1000, _chance)

    def _pause(self) -> Pause:
        own = self._settings.external_client_settings
        return Pause(own.pause_min_ms / 1000, own.pause_max_ms / 1000, _chance)

    async def ready(self) -> None:
        """Wait until the bus is connected for the first time."""
        await self.started.wait()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then leave every session politely.

        Raises:
            GatewayError: another client has taken over (R17).
            Exception: whatever a defect of ours raised.
        """
        failed: Callable[[str, BaseException], None] = lambda _, error: self._fail(  # noqa: E731
            error if isinstance(error, Exception) else RuntimeError(repr(error))
        )
        link = start_task(self._link.run(), "external-client-link", failed)
        tasks = [
            start_task(each.run(), f"external-client-endpoint-{index}", failed)
            for index, each in enumerate(self.endpoints)
        ]
        waiting = [
            asyncio.ensure_future(stop.wait()),
            asyncio.ensure_future(self._failed.wait()),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._failure is None:
                await self._leave(tasks)
        finally:
            for each in waiting:
                each.cancel()
            await stop_tasks(tasks)
            await stop_tasks([link])
        if self._failure is not None:
            raise self._failure

    async def _leave(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for each in self.endpoints:
            each.stop()
        limit_s = self._settings.external_client_settings.stop_wait_ms / 1000 + 1.0
        if tasks:
            await asyncio.wait(tasks, timeout=limit_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    await self._link.drain()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
            self._failed.set()

    # What the link tells

    def link_up(self) -> None:
        """See `LinkListener`."""
        self._health_changed("bus", True, "")
        self.started.set()
        self._feed_all(LinkUp())

    def link_down(self, reason: str) -> None:
        """See `LinkListener`. Sessions go on; handlers that do not come back are lost later."""
        self._health_changed("bus", False, reason)

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None:
        """See `LinkListener`."""
        if peer.kind == _HANDLER:
            self._handlers.add(peer)
            self._health_changed("handler", True, "")
            self._feed_all(HandlerUp(peer.boot_id, presence))

    def peer_lost(self, peer: Address) -> None:
        """See `LinkListener`."""
        if peer.kind == _HANDLER:
            self._handlers.discard(peer)
            if not self._handlers:
                self._health_changed("handler", False, "no module handler is heard on the bus")
            self._feed_all(HandlerLost(peer.boot_id))

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        """See `LinkListener`."""
        if sender.kind != _HANDLER:
            return
        heard: dict[int, list[bus_pb2.Message]] = {}
        for message in messages:
            kind = message.WhichOneof("body")
            if kind in FROM_HANDLER:
                heard.setdefault(getattr(message, kind).endpoint, []).append(message)
        for index, said in heard.items():
            if index < len(self.endpoints):
                self.endpoints[index].feed(HandlerSaid(sender.boot_id, said))

    def _feed_all(self, event: Event) -> None:
        for each in self.endpoints:
            each.feed(event)
