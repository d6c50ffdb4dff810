"""What a fleet is, as a value that can be sent to another process as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from fleet_lab.devices.api import Device
from fleet_lab.errors import EXIT_CONFIG, EXIT_USAGE, LabError
from fleet_lab.import_path import import_name
from fleet_lab.load import Load
from fleet_lab.load_plan import parse_load

DEFAULT_SINK: Final = "console://"
MAX_SIZE: Final = 1_000_000

DeviceText: TypeAlias = str | Mapping[str, Any]
"""Built-in name, import path, path of a template file, or a template."""


@dataclass(frozen=True, slots=True)
class Member:
    """One device of a fleet that differs from the others; None: as the fleet."""

    id: str
    device: DeviceText | None = None
    sink: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """One device, resolved.

    Attributes:
        index: its place in the fleet, from 0; what the recorder calls it.
    """

    index: int
    id: str
    fleet: str
    device: DeviceText
    sink: str
    link: str | None
    options: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """A fleet as declared.

    Attributes:
        sink: URL, such as `fleet-protocol://127.0.0.1:8888`, or an import path.
        load: plan of a Load; None: devices report by their own schedule only.
        link: conditions as text; None: no shim at all.
        is_patient: keep trying when the far side is not there at the start.
        members: devices that differ; when there are any, they are the whole fleet.
    """

    name: str
    device: DeviceText
    size: int
    sink: str = DEFAULT_SINK
    load: Mapping[str, Any] | None = None
    link: str | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    is_patient: bool = False
    members: tuple[Member, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            LabError: a size or a name that makes no fleet, or two devices of one id.
        """
        if not self.name or "/" in self.name or not self.name.isprintable():
            raise LabError(f"{self.name!r} is no name of a fleet", EXIT_CONFIG)
        if not 0 <= self.size <= MAX_SIZE:
            raise LabError(f"fleet {self.name}: {self.size} is no size", EXIT_CONFIG)
        ids = [member.id for member in self.members]
        if len(set(ids)) != len(ids):
            twice = next(id_ for id_ in ids if ids.count(id_) > 1)
            raise LabError(f"fleet {self.name}: two devices are called {twice!r}", EXIT_CONFIG)

    def device_spec(self, index: int) -> DeviceSpec:
        """The device with this index."""
        member = self.members[index] if index < len(self.members) else None
        return DeviceSpec(
            index=index,
            id=member.id if member else f"{self.name}/{index + 1}",
            fleet=self.name,
            device=(member and member.device) or self.device,
            sink=(member and member.sink) or self.sink,
            link=self.link,
            options=self.options if member is None else {**self.options, **member.options},
            seed=self.seed,
        )

    def index_of(self, device_id: str) -> int | None:
        """Where the device of this id is, if it can be of this fleet; the size does not matter."""
        for index, member in enumerate(self.members):
            if member.id == device_id:
                return index
        name, _, number = device_id.rpartition("/")
        if name != self.name or not (number.isascii() and number.isdigit()) or int(number) < 1:
            return None
        return None if self.members else int(number) - 1

    def resized(self, size: int) -> FleetSpec:
        """The same with another size.

        Raises:
            LabError: the devices were listed one by one, or the size makes no sense.
        """
        if self.members and size > len(self.members):
            raise LabError(
                f"fleet {self.name} lists its {len(self.members)} devices; it cannot grow",
                EXIT_USAGE,
            )
        return replace(self, size=size)

    def the_load(self) -> Load | None:
        """The load of the plan."""
        return None if self.load is None else parse_load(self.load)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        members = [
            {"id": m.id, "device": m.device, "sink": m.sink, "options": dict(m.options)}
            for m in self.members
        ]
        return {
            "name": self.name, "device": self.device, "size": self.size, "sink": self.sink,
            "load": None if self.load is None else dict(self.load), "link": self.link,
            "seed": self.seed, "options": dict(self.options), "is_patient": self.is_patient,
            "members": members,
        }  # fmt: skip

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> FleetSpec:
        """What `to_json` gave."""
        members = tuple(Member(**member) for member in fields["members"])
        return cls(**{**fields, "members": members})


def device_name(device: type[Device] | DeviceText) -> DeviceText:
    """What a worker process finds the class by."""
    return import_name(device) if isinstance(device, type) else device


def members_of(devices: Sequence[Mapping[str, Any]], fleet: str) -> tuple[Member, ...]:
    """The devices of a list as `deploy_fleet` takes it: id, cls, sink, options, all optional.

    Raises:
        LabError: another key.
    """
    members = []
    for number, given in enumerate(devices, 1):
        unknown = set(given) - {"id", "cls", "sink", "options"}
        if unknown:
            raise LabError(
                f"device {number}: unknown key {min(unknown)!r}; "
                "there are id, cls, sink and options",
                EXIT_USAGE,
            )
        cls = given.get("cls")
        members.append(
            Member(
                id=str(given.get("id", f"{fleet}/{number}")),
                device=None if cls is None else device_name(cls),
                sink=given.get("sink"),
                options=dict(given.get("options") or {}),
            )
        )
    return tuple(members)
