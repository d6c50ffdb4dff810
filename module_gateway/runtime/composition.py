"""Which processes make up a gateway on one machine, and how each is started."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import module_gateway
from module_gateway.bus.location import BusLocation, find_bus
from module_gateway.modules.catalog import find_class
from module_gateway.protocol.errors import ConfigError
from module_gateway.protocol.identity import PARTITIONS
from module_gateway.runtime.broker import LOOPBACK, answers, is_told_where, plan_bus, plan_upstream
from module_gateway.runtime.log import get_logger
from module_gateway.runtime.process import METRICS_PORT, SUPERVISED
from module_gateway.runtime.settings import Settings
from module_gateway.runtime.state import read_run_note
from module_gateway.runtime.supervisor import Addresses, Component

BUS_BROKER: Final = "bus_broker"
UPSTREAM_BROKER: Final = "upstream_broker"
COMMANDS: Final = {
    "module_handler": "module-handler",
    "internal_server": "internal-server",
    "external_client": "external-client",
    "control_plane": "control-plane",
}
STOP_RANKS: Final = {
    "internal_server": 1,  # first nothing new comes in
    "external_client": 2,  # then upstream is told, by what the handler still has
    "module_handler": 3,
    "control_plane": 4,
    UPSTREAM_BROKER: 5,
    BUS_BROKER: 5,
}
ROOT_WARNING: Final = "Warning: Mosquitto should not be run as root/administrator."
"""It is, when the whole gateway is: as another user it could not use the state folder."""
METRICS_PORT_STEP: Final = 10
"""Between the metrics ports of two processes with the same job; the four jobs lie next to each
other."""

SOURCE_FOLDER: Final = str(Path(module_gateway.__file__).parent.parent)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class VirtualDevice:
    """One device of the demo; a process of the lab."""

    name: str
    module: str
    role: str
    device_type: int
    period: str = "1s"
    number: int = 0
    """Of `module` in the configuration at hand."""


DEMO_DEVICES: Final = (
    VirtualDevice("device_button", "car_accessory", "left_button", 0, period="5s"),
    VirtualDevice("device_car", "mission", "autonomy", 1),
    VirtualDevice("device_io", "io", "testing_plc", 1),
)


def demo_devices(settings: Settings) -> list[VirtualDevice]:
    """Those devices of the demo that the configuration has a module and an endpoint for."""
    attached = {
        number for item in settings.external_connection.endpoints for number in item.modules
    }
    numbers: dict[str, int] = {}
    for key, value in settings.module_paths.items():
        if int(key) in attached:
            numbers.setdefault(find_class(f"module-paths.{key}", value).name, int(key))
    return [
        replace(device, number=numbers[device.module])
        for device in DEMO_DEVICES
        if device.module in numbers
    ]


@dataclass(frozen=True, slots=True)
class Part:
    """One process of ours: the `number`th (1, 2 …) of `count` with the same job."""

    kind: str
    number: int = 1
    count: int = 1

    @property
    def name(self) -> str:
        """What it is called in the log, in notes and on the terminal."""
        return self.kind if self.number == 1 else f"{self.kind}.{self.number}"

    @property
    def partitions(self) -> str:
        """Its share of the partitions of every module."""
        first = (self.number - 1) * PARTITIONS // self.count
        return f"{first}-{self.number * PARTITIONS // self.count - 1}"

    def folder(self, state_dir: Path) -> Path:
        """Where its store, lock and run note are: the first one's are the gateway's."""
        return state_dir if self.number == 1 else state_dir / self.name


def refuse_leftovers(settings: Settings, state_dir: Path) -> None:
    """A handler that is configured no longer may have left what nobody would deliver.

    Raises:
        ConfigError: the folder of such a handler holds a store.
    """
    count = settings.module_handler_settings.processes
    for folder in sorted(state_dir.glob("module_handler.*")):
        number = folder.name.rpartition(".")[2]
        if number.isdecimal() and int(number) > count and any(folder.rglob("*.db")):
            raise ConfigError(
                "module-handler-settings.processes",
                got=count,
                expected=f"at least {number}, because {folder} holds the store of handler {number}",
                hint="let the devices leave and the backlog drain (`module-gateway buffer stat "
                f"--state-dir {folder}`), then remove that folder",
            )


@dataclass(slots=True)
class Composition:
    """Makes the components of one run; knows where the bus is once its broker was started."""

    settings: Settings
    state_dir: Path
    environ: Mapping[str, str]
    common: Sequence[str]
    """Options that every component of ours gets."""
    server_options: Sequence[str] = ()
    is_demo: bool = False
    is_own_bus: bool = field(init=False)
    bus: BusLocation = field(init=False)
    _bus_environment: Mapping[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.is_own_bus = not is_told_where(self.settings.bus, self.environ)
        self.bus = find_bus(self.settings.bus, self.state_dir, self.environ)

    def components(self, addresses: Callable[[str], Addresses]) -> list[Component]:
        """All of them in the order of starting. `addresses` tells what one said when ready."""
        brokers = [self._bus_broker()] if self.is_own_bus else []
        handlers = self.settings.module_handler_settings.processes
        servers = self.settings.internal_server_settings.processes
        parts = [
            *(Part("module_handler", number, handlers) for number in range(1, handlers + 1)),
            *(Part("internal_server", number, servers) for number in range(1, servers + 1)),
        ]
        if self.is_demo:
            brokers.append(self._upstream_broker())
            parts.insert(0, Part("control_plane"))
        after = tuple(broker.name for broker in brokers)
        ours = [self._of_ours(part, after, addresses) for part in parts]
        # A control plane that is not there yet would cost the first session its step timeout.
        first = ("control_plane",) if self.is_demo else ()
        ours.append(self._of_ours(Part("external_client"), (*after, *first), addresses))
        devices = demo_devices(self.settings) if self.is_demo else ()
        return [*brokers, *ours, *(self._device(device, addresses) for device in devices)]

    def _of_ours(
        self, part: Part, after: tuple[str, ...], addresses: Callable[[str], Addresses]
    ) -> Component:
        folder = part.folder(self.state_dir)
        metrics_port = self._metrics_port(part)

        def command() -> Sequence[str]:
            words = (*_python("module_gateway"), COMMANDS[part.kind], *self.common)
            if part.number > 1:
                words = tuple(
                    str(folder) if word == str(self.state_dir) else word for word in words
                )
            return (*words, *self._options(part, addresses))

        def environment() -> Mapping[str, str]:
            own = {METRICS_PORT: str(metrics_port)} if metrics_port else {}
            return {**self._environment(), **own}

        async def ready(pid: int) -> Addresses | None:
            note = read_run_note(folder, part.kind)
            return note.addresses if note is not None and note.pid == pid else None

        return Component(
            part.name,
            command,
            ready,
            (*after, part.kind) if part.number > 1 else after,
            STOP_RANKS[part.kind],
            environment=environment,
            notifies=True,
        )

    def _options(self, part: Part, addresses: Callable[[str], Addresses]) -> Sequence[str]:
        if part.kind == "module_handler" and part.count > 1:
            return ("--partitions", part.partitions)
        if part.kind != "internal_server":
            return ()
        if part.number == 1:
            return self.server_options
        _, port = device_address(addresses(part.kind), self.settings)
        return ("--port", str(port))  # where the first one listens, also when it chose it

    def _metrics_port(self, part: Part) -> int:
        """0: the one of the configuration."""
        if part.number == 1:
            return 0
        first: int = getattr(self.settings, f"{part.kind}_settings").metrics_port
        return first + METRICS_PORT_STEP * (part.number - 1) if first else 0

    def _environment(self) -> Mapping[str, str]:
        """The components find our modules from any folder and our bus without a search."""
        paths = [SOURCE_FOLDER, self.environ.get("PYTHONPATH", "")]
        return {
            SUPERVISED: "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            **self._bus_environment,
        }

    def _bus_broker(self) -> Component:
        def command() -> Sequence[str]:
            known_port = self.bus.port if self._bus_environment else None
            plan = plan_bus(self.state_dir, self.environ, known_port)
            self.bus, self._bus_environment = plan.location, plan.environment
            if plan.notice:
                _log.warning("bus_broker", notice=plan.notice)
            return plan.command

        return Component(
            BUS_BROKER,
            command,
            lambda _pid: _ready_broker(self.bus),
            stop_rank=STOP_RANKS[BUS_BROKER],
            environment=self._environment,
            unshown=frozenset({ROOT_WARNING}),
            sign=lambda: answers(self.bus),
        )

    def _upstream_broker(self) -> Component:
        port = self.settings.control_plane_settings.broker_port

        def command() -> Sequence[str]:
            plan = plan_upstream(self.state_dir, port, self.environ)
            if plan.notice:
                _log.warning("upstream_broker", notice=plan.notice)
            return plan.command

        return Component(
            UPSTREAM_BROKER,
            command,
            lambda _pid: _ready_broker(BusLocation(None, LOOPBACK, port)),
            stop_rank=STOP_RANKS[UPSTREAM_BROKER],
            environment=self._environment,
            unshown=frozenset({ROOT_WARNING}),
            sign=lambda: answers(BusLocation(None, LOOPBACK, port)),
        )

    def _device(self, device: VirtualDevice, addresses: Callable[[str], Addresses]) -> Component:
        def command() -> Sequence[str]:
            host, port = device_address(addresses("internal_server"), self.settings)
            return (
                *_python("fleet_lab"),
                *("device", "--host", host, "--port", str(port), "--module", str(device.number)),
                *("--payload", device.module),
                *("--role", device.role, "--type", str(device.device_type)),
                *("--period", device.period, "--priority", "0", "--name", device.role, "--wait"),
            )

        async def ready(_pid: int) -> Addresses | None:
            return {}

        return Component(
            device.name,
            command,
            ready,
            ("internal_server", "module_handler", "external_client"),
            stop_rank=0,
            is_essential=False,
            environment=self._environment,
        )


def device_address(said: Addresses, settings: Settings) -> tuple[str, int]:
    """Where a device of this machine connects to: what the internal server said, or should say."""
    host, _, port = said.get("devices", "").rpartition(":")
    if not port.isdigit():
        return LOOPBACK, settings.internal_server_settings.port
    return (LOOPBACK if host in {"", "0.0.0.0", "::"} else host), int(port)  # noqa: S104


def _python(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module)


async def _ready_broker(location: BusLocation) -> Addresses | None:
    return {"mqtt": str(location)} if await answers(location) else None
