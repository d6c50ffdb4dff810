"""A fleet in an event loop: one interface, whether it runs here, in processes or on a cluster."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from random import SystemRandom
from typing import Any, Final

from fleet_lab.devices.api import Device
from fleet_lab.errors import EXIT_USAGE, LabError
from fleet_lab.fleets.classes import MakeDevice
from fleet_lab.fleets.coordinator import Coordinator
from fleet_lab.fleets.engine import Engine, MakeSink
from fleet_lab.fleets.lag import Lag
from fleet_lab.fleets.ports import Placer
from fleet_lab.fleets.spec import DEFAULT_SINK, FleetSpec, Member
from fleet_lab.import_path import import_name
from fleet_lab.links.conditions import Conditions, conditions_text, parse_conditions
from fleet_lab.links.meter import Meter
from fleet_lab.load import Load
from fleet_lab.load_plan import parse_load
from fleet_lab.recorder import NullRecorder, Recorder
from fleet_lab.sinks.api import Sink, SinkUrl

IN_PROCESS_MAX: Final = 500
"""Up to this size a fleet runs in the calling process unless it is told otherwise."""

OnProblem = Callable[[str, str], None]


def say_nothing(device_id: str, text: str) -> None:
    """For those who look at the counts instead."""
    del device_id, text


class RunningFleet:
    """One fleet. Start it once, stop it once; everything else in between.

    Args:
        cls: a device class, a built-in name, an import path, a template or its file.
        sink: URL, import path or a Sink class.
        load: what statuses are due, beside the devices' own schedules.
        link: conditions of every device's network.
        seed: None: a new one, see `spec.seed`.
        workers: processes; 0: none but this one; None: one per core when the fleet is large.
        on: "local", "ray" (a cluster that this machine knows) or "ray://host:port".
        is_patient: keep trying when nothing can be reached at the start.
        members: devices that differ, see FleetSpec.
    """

    def __init__(  # noqa: PLR0913  # the whole plan of a fleet, all but two by name
        self,
        name: str,
        cls: type[Device] | str | Mapping[str, Any],
        *,
        size: int = 1,
        sink: str | type[Sink] = DEFAULT_SINK,
        load: Load | str | float | Mapping[str, Any] | Sequence[Any] | None = None,
        link: Conditions | str | Mapping[str, Any] | None = None,
        seed: int | None = None,
        workers: int | None = None,
        on: str = "local",
        options: Mapping[str, Any] | None = None,
        is_patient: bool = False,
        members: Sequence[Member] = (),
        recorder: Recorder | None = None,
        on_problem: OnProblem = say_nothing,
    ) -> None:
        self._classes: dict[str, MakeDevice] = {}
        self._sinks: dict[str, MakeSink] = {}
        self._on = _checked_place(on)
        self._recorder = recorder if recorder is not None else NullRecorder()
        self._on_problem = on_problem
        size = len(members) if members else size
        is_small = size <= IN_PROCESS_MAX and on == "local"
        default_workers = 0 if is_small else os.cpu_count() or 1
        self.workers = default_workers if workers is None else workers
        if self.workers < 0 or (self.workers == 0 and on != "local"):
            raise LabError(f"{workers} workers cannot run a fleet on {on!r}", EXIT_USAGE)
        self.spec = FleetSpec(
            name=name,
            device=self._device_name(cls),
            size=size,
            sink=self._sink_name(sink),
            load=None if load is None else parse_load(load).plan,
            link=None if link is None else conditions_text(parse_conditions(link)),
            seed=SystemRandom().randrange(2**32) if seed is None else seed,
            options=dict(options or {}),
            is_patient=is_patient,
            members=tuple(members),
        )
        self._engine: Engine | None = None
        self._coordinator: Coordinator | None = None

    @classmethod
    def of(
        cls,
        spec: FleetSpec,
        *,
        workers: int | None = None,
        on: str = "local",
        recorder: Recorder | None = None,
        on_problem: OnProblem = say_nothing,
    ) -> RunningFleet:
        """The fleet of a specification, as a file gives it."""
        fleet = cls(
            spec.name, spec.device, size=spec.size, members=spec.members, workers=workers, on=on,
            recorder=recorder, on_problem=on_problem,
        )  # fmt: skip
        fleet.spec = spec
        return fleet

    @property
    def meters(self) -> tuple[Meter, Meter]:
        """What the links achieved so far: up, down."""
        return self._running().meters

    @property
    def name(self) -> str:
        """Of the fleet."""
        return self.spec.name

    @property
    def size(self) -> int:
        """How many devices it shall have now."""
        running = self._engine or self._coordinator
        return self.spec.size if running is None else running.fleet.size

    @property
    def is_running(self) -> bool:
        """Between start and stop."""
        return self._engine is not None or self._coordinator is not None

    async def start(self) -> None:
        """Open every device.

        Raises:
            LabError: nothing could be opened; the first reason.
        """
        if self.is_running:
            raise LabError(f"fleet {self.name} runs already", EXIT_USAGE)
        if self.workers == 0:
            engine = Engine(
                self.spec, self._recorder, classes=self._classes, sinks=self._sinks,
                on_problem=self._on_problem,
            )  # fmt: skip
            await engine.start()
            self._engine = engine
            return
        coordinator = Coordinator(
            self.spec, self._recorder, self._placer(), self.workers, self._on_problem
        )
        await coordinator.start()
        self._coordinator = coordinator

    async def stop(self) -> None:
        """End every device and every worker; safe to call twice."""
        engine, self._engine = self._engine, None
        coordinator, self._coordinator = self._coordinator, None
        if engine is not None:
            await engine.stop()
        if coordinator is not None:
            await coordinator.stop()

    async def scale(self, size: int) -> None:
        """Another number of devices while running.

        Raises:
            LabError: the fleet lists its devices, or the machine does not allow so many.
        """
        await self._running().scale(size)

    async def send(self, device_id: str, payload: bytes | str | Mapping[str, Any]) -> None:
        """Give a device a command, wherever it runs; a mapping goes as JSON.

        Raises:
            LabError: there is no such device.
        """
        encoded = encode_payload(payload)
        if self._engine is not None:
            self._engine.send(device_id, encoded)
        else:
            await self._coordinated().send(device_id, encoded)

    async def telemetry(self, device_id: str) -> dict[str, Any]:
        """State and counters of a device, wherever it runs.

        Raises:
            LabError: there is no such device.
        """
        if self._engine is not None:
            here = {"worker": "", "place": f"pid {os.getpid()}"}
            return self._engine.telemetry(device_id) | here
        return await self._coordinated().telemetry(device_id)

    async def set_link(
        self,
        conditions: Conditions | str | Mapping[str, Any],
        ids: Sequence[str] | None = None,
        share: float = 1.0,
    ) -> None:
        """Another network for these devices, or for the first `share` (0 … 1) of the fleet.

        Raises:
            LabError: bad conditions, or there is no such device.
        """
        parsed = parse_conditions(conditions)
        indexes = None
        if ids is not None:
            indexes = [self._index(device_id) for device_id in ids]
        elif share < 1.0:
            indexes = list(range(math.ceil(self.size * share)))
        if self._engine is not None:
            self._engine.set_link(indexes, parsed)
        else:
            await self._coordinated().set_link(indexes, parsed)

    def counts(self) -> dict[str, Any]:
        """Sums over all devices since the start."""
        return self._running().counts()

    def ps(self) -> dict[str, Any]:
        """One row about the fleet, for people and for JSON."""
        counts = self.counts()
        lag = Lag(counts.pop("lag_counts"), counts.pop("lag_max_s"))
        places = (
            [{"worker": "", "place": f"pid {os.getpid()}", "devices": self.size}]
            if self._coordinator is None
            else self._coordinator.places()
        )
        return {
            "name": self.name,
            "size": self.size,
            **counts,
            "lag_p99_s": lag.quantile(0.99),
            "seed": self.spec.seed,
            "sink": self.spec.sink,
            "places": places,
        }

    def _running(self) -> Engine | Coordinator:
        running = self._engine or self._coordinator
        if running is None:
            raise LabError(f"fleet {self.name} does not run", EXIT_USAGE)
        return running

    def _coordinated(self) -> Coordinator:
        if self._coordinator is None:
            raise LabError(f"fleet {self.name} does not run", EXIT_USAGE)
        return self._coordinator

    def _index(self, device_id: str) -> int:
        index = self.spec.index_of(device_id)
        if index is None or index >= self.size:
            raise LabError(f"there is no device {device_id!r} in {self.name}", EXIT_USAGE)
        return index

    def _placer(self) -> Placer:
        if self._on == "local":
            from fleet_lab.fleets.workers import ProcessPlacer  # noqa: PLC0415  # not for one device

            return ProcessPlacer()
        from fleet_lab.fleets.ray_backend import RayPlacer  # noqa: PLC0415  # an optional extra

        return RayPlacer(self._on)

    def _device_name(self, cls: type[Device] | str | Mapping[str, Any]) -> str | Mapping[str, Any]:
        if not isinstance(cls, type):
            return cls
        name = f"{cls.__module__}:{cls.__qualname__}"
        if self.workers == 0:
            self._classes[name] = cls
            return name
        return import_name(cls)

    def _sink_name(self, sink: str | type[Sink]) -> str:
        if isinstance(sink, str):
            return sink
        name = f"{sink.__module__}:{sink.__qualname__}"
        if self.workers == 0:
            self._sinks[name] = lambda: sink(SinkUrl(name, "", "", 0, ""))
        return name


def encode_payload(payload: bytes | str | Mapping[str, Any]) -> bytes:
    """A command as bytes."""
    if isinstance(payload, bytes):
        return payload
    return payload.encode() if isinstance(payload, str) else json.dumps(dict(payload)).encode()


def _checked_place(on: str) -> str:
    if on in ("local", "ray") or on.startswith("ray://"):
        return on
    raise LabError(f"a fleet runs on 'local', 'ray' or 'ray://host:port', not {on!r}", EXIT_USAGE)
