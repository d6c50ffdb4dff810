"""The control plane itself: vehicles on the upstream broker, each served on its own.

It has no HTTP in it; `api` asks it, `app` runs both.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pydantic import ValidationError

from module_gateway.bus.location import BusLocation
from module_gateway.bus.mqtt import MqttBus
from module_gateway.bus.port import Bus
from module_gateway.control_plane import metrics
from module_gateway.control_plane.decode import Decoder
from module_gateway.control_plane.events import (
    Change,
    CommandState,
    CommandWanted,
    LinkLost,
    LinkRestored,
    StopWanted,
)
from module_gateway.control_plane.feed import Feed
from module_gateway.control_plane.memory_store import MemoryStore
from module_gateway.control_plane.records import CommandRecord, VehicleName
from module_gateway.control_plane.session import Limits
from module_gateway.control_plane.store import Store, StoreLimits
from module_gateway.control_plane.vehicle import Vehicle
from module_gateway.control_plane.views import news_of
from module_gateway.modules.containment import ContainedModule
from module_gateway.protocol.errors import (
    ConfigError,
    GatewayError,
    ModuleError,
    Reason,
    RemoteProtocolError,
    StoreError,
)
from module_gateway.protocol.external import decode_client_message
from module_gateway.protocol.identity import NAME_PATTERN, Identity
from module_gateway.runtime.log import clean_text, get_logger
from module_gateway.runtime.settings import ControlPlaneSettings, Settings
from module_gateway.runtime.tasks import start_task, stop_tasks

SUBSCRIPTION: Final = "+/+/module_gateway"  # fleet-protocol 4.2
TOPIC_PARTS: Final = 3
MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Largest message of a gateway: a Connect of thousands of devices, or a status of 1 MiB with an
error as large."""
KEEPALIVE_S: Final = 15  # fleet-protocol 4.1
SWEEP_S: Final = 60.0
"""Between two looks for statuses that are too old."""
STOP_WAIT_S: Final = 3.0
"""For the last notifications at the end of the process."""

_log = get_logger(__name__)


def upstream_broker(settings: ControlPlaneSettings) -> MqttBus:
    """A client of the broker that the gateways use."""
    location = BusLocation(None, settings.broker_host, settings.broker_port)
    return MqttBus(location, "control-plane", name="upstream", keepalive_s=KEEPALIVE_S)


class UnknownDeviceError(GatewayError):
    """No such vehicle, or it never had such a device."""


class CommandRefusedError(GatewayError):
    """The device's module says that this is no command for it."""


class ControlPlane:
    """An external server for any number of vehicles (fleet-protocol 4, 7.1)."""

    def __init__(
        self,
        settings: Settings,
        modules: Mapping[int, ContainedModule],
        link: Bus | None = None,
        store: Store | None = None,
        on_link: Callable[[bool, str], None] | None = None,
    ) -> None:
        """`link` and `store` are by default the configured broker and memory.

        `on_link` is told whenever the broker connection comes (True, "") or goes (False, why).
        """
        self.settings = settings.control_plane_settings
        self.modules = modules
        self.store = store if store is not None else MemoryStore(store_limits(self.settings))
        self.decoder = Decoder(modules)
        self.feed = Feed(self.settings.event_listeners, self.settings.event_backlog)
        self._link: Bus = link or upstream_broker(self.settings)
        self._limits = session_limits(self.settings)
        self._vehicles: dict[VehicleName, tuple[Vehicle, asyncio.Task[None]]] = {}
        self._configured = vehicle_names(self.settings.vehicles)
        self._on_link = on_link
        self._is_link_up = asyncio.Event()
        self._is_stopping = False

    @property
    def is_link_up(self) -> bool:
        """Connected to the upstream broker and subscribed."""
        return self._is_link_up.is_set()

    async def ready(self) -> None:
        """Wait until gateways are heard."""
        await self._is_link_up.wait()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then tell every vehicle that has a session.

        Every vehicle that the store knows is told as soon as the link is there, so that a gateway
        between two attempts makes the next one at once. A store that forgets (memory) knows none,
        and nobody can write to a topic without its vehicle's name: those gateways hear it in answer
        to their next status, or come by themselves.

        Raises:
            StoreError: the store cannot be read.
        """
        known = {record.name for record in await self.store.vehicles()}
        for name in sorted(known | self._configured):
            self._vehicle(name, is_notified=name in known)
        link = start_task(self._link.run((SUBSCRIPTION,), self), "upstream link")
        sweep = start_task(self._sweep_for_ever(), "history sweep")
        try:
            await stop.wait()
        finally:
            self._is_stopping = True
            await self._stop_vehicles()
            self.feed.close()
            await stop_tasks([link, sweep])
            await self.store.close()

    async def _sweep_for_ever(self) -> None:
        """Forget what is too old, now and then."""
        while True:
            await asyncio.sleep(SWEEP_S)
            before = time.time_ns() // 1_000_000 - self.settings.history_age_s * 1000
            try:
                await self.store.sweep(before)
            except StoreError as error:
                _log.error("history_not_swept", error=clean_text(error, 200))

    # ---- what the link tells ------------------------------------------------------------------

    def bus_up(self) -> None:
        """See `BusListener`."""
        metrics.BROKER_UP.set(1)
        self._is_link_up.set()
        if self._on_link is not None:
            self._on_link(True, "")
        for vehicle, _ in self._vehicles.values():
            vehicle.post(LinkRestored())

    def bus_down(self, reason: str) -> None:
        """See `BusListener`."""
        metrics.BROKER_UP.set(0)
        metrics.BROKER_OUTAGES.inc()
        self._is_link_up.clear()
        if self._on_link is not None:
            self._on_link(False, reason)
        for vehicle, _ in self._vehicles.values():
            vehicle.post(LinkLost())

    def bus_message(self, topic: str, payload: bytes) -> None:
        """See `BusListener`. Bad input costs a counter and nobody else anything."""
        parts = topic.split("/")
        if len(parts) != TOPIC_PARTS or not all(map(NAME_PATTERN.fullmatch, parts[:2])):
            self._drop(topic, Reason.TOPIC_FORM)
            return
        if len(payload) > MESSAGE_BYTES:
            self._drop(topic, Reason.FRAME_TOO_LARGE)
            return
        try:
            message = decode_client_message(payload)
        except RemoteProtocolError as error:
            self._drop(topic, error.reason)
            return
        metrics.MESSAGES.labels(kind=type(message).__name__).inc()
        name = VehicleName(parts[0], parts[1])
        if not (self.settings.auto_register or name in self._configured):
            self._drop(topic, Reason.UNKNOWN_VEHICLE)
            return
        vehicle = self._vehicle(name)
        if vehicle is None:
            self._drop(topic, Reason.TOO_MANY_VEHICLES)
        elif not vehicle.post_message(message, len(payload)):
            self._drop(topic, Reason.QUEUE_FULL)

    # ---- what the API asks --------------------------------------------------------------------

    async def post_command(
        self, name: VehicleName, identity: Identity, command: bytes, valid_for_s: float
    ) -> CommandRecord:
        """Queue a command for a device; it is sent as soon as its device is connected.

        Raises:
            UnknownDeviceError: nobody has heard of this device.
            CommandRefusedError: its module does not accept the command.
            StoreFullError: too many commands wait already.
        """
        device = await self.store.device(name, identity)
        vehicle = self._vehicle(name) if device is not None else None
        if device is None or vehicle is None:
            raise UnknownDeviceError(f"vehicle {name} never had a device {identity}")
        self._check_command(identity, command)
        at_unix_ms = time.time_ns() // 1_000_000
        record = CommandRecord(
            secrets.token_hex(8),
            name,
            identity,
            command,
            CommandState.WAITING,
            at_unix_ms,
            at_unix_ms,
            at_unix_ms + round(valid_for_s * 1000),
        )
        await self.store.add_command(record)
        metrics.COMMANDS.labels(state=CommandState.WAITING).inc()
        expires_at = asyncio.get_running_loop().time() + valid_for_s
        vehicle.post(CommandWanted(record.command_id, device.device, command, expires_at))
        return record

    def _check_command(self, identity: Identity, command: bytes) -> None:
        """A device of a module that is not configured here gets what it is sent."""
        module = self.modules.get(identity.module)
        if module is None or not command:
            return
        try:
            is_valid = module.command_data_valid(command, identity.device_type)
        except ModuleError as error:
            raise CommandRefusedError(f"module {identity.module} failed: {error}") from error
        if not is_valid:
            raise CommandRefusedError(
                f"module {identity.module} ({module.name}) does not accept this command "
                f"for device type {identity.device_type}{_finding(module, command)}"
            )

    # ---- vehicles -----------------------------------------------------------------------------

    def _vehicle(self, name: VehicleName, *, is_notified: bool = False) -> Vehicle | None:
        """The vehicle at work, a new one if it is not known; None if there is no room for it."""
        if name in self._vehicles:
            return self._vehicles[name][0]
        if self._is_stopping or len(self._vehicles) >= self.settings.max_vehicles:
            return None
        vehicle = Vehicle(
            name,
            self._limits,
            self.store,
            self._link.publish,
            self._changed,
            is_notified=is_notified,
        )
        task = start_task(vehicle.run(), f"vehicle {name}")
        self._vehicles[name] = (vehicle, task)
        metrics.VEHICLES.set(len(self._vehicles))
        return vehicle

    def _changed(self, name: VehicleName, changes: Sequence[Change], at_unix_ms: int) -> None:
        if not self.feed.has_listeners:
            return
        for change in changes:
            self.feed.publish(news_of(name, change, at_unix_ms, self.decoder))

    async def _stop_vehicles(self) -> None:
        for vehicle, _ in self._vehicles.values():
            vehicle.post(StopWanted())
        tasks = [task for _, task in self._vehicles.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_WAIT_S)
        await stop_tasks(tasks)

    def _drop(self, topic: str, reason: Reason) -> None:
        metrics.DROPPED.labels(reason=reason).inc()
        _log.debug("dropped", topic=clean_text(topic), reason=str(reason))


def vehicle_names(texts: Sequence[str]) -> frozenset[VehicleName]:
    """The configured vehicles.

    Raises:
        ConfigError: one is not "company/vehicle" in small letters, digits and underscores.
    """
    names = set()
    for text in texts:
        company, _, vehicle = text.partition("/")
        if not (NAME_PATTERN.fullmatch(company) and NAME_PATTERN.fullmatch(vehicle)):
            raise ConfigError(
                "control-plane-settings.vehicles", got=text, expected='"company/vehicle"'
            )
        names.add(VehicleName(company, vehicle))
    return frozenset(names)


def session_limits(settings: ControlPlaneSettings) -> Limits:
    """The session's share of the settings."""
    return Limits(
        step_timeout_s=settings.step_timeout_ms / 1000,
        session_timeout_s=settings.session_timeout_ms / 1000,
        early_statuses=settings.early_statuses,
        command_window=settings.command_window,
    )


def store_limits(settings: ControlPlaneSettings) -> StoreLimits:
    """The store's share of the settings."""
    return StoreLimits(
        vehicles=settings.max_vehicles,
        devices=settings.max_devices,
        history_statuses=settings.history_statuses,
        history_bytes=settings.history_bytes,
        history_total_bytes=settings.history_total_bytes,
        commands_waiting=settings.commands_waiting,
    )


def _finding(module: ContainedModule, command: bytes) -> str:
    """What the module's documentation of its commands says against this one, "" for nothing."""
    form = module.command_payload
    if form is None or module.settings.codec != "json":
        return ""
    try:
        form.model_validate_json(command)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f": {where}: {first['msg']}" if where else f": {first['msg']}"
    return ""
