"""Virtual devices and fleets that prove whether a gateway is ready, from outside.

Names are imported when they are used: a script that needs one device does not load a cluster.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fleet_lab.devices.api import Device, State, command, every
    from fleet_lab.devices.generators import Stream
    from fleet_lab.devices.generic import GenericDevice
    from fleet_lab.errors import LabError
    from fleet_lab.fleets.fleet import Fleet, deploy_device, deploy_fleet
    from fleet_lab.fleets.running import RunningFleet
    from fleet_lab.laboratory import Laboratory
    from fleet_lab.ledger.checks import Check
    from fleet_lab.links.presets import LINKS, Conditions
    from fleet_lab.load import Load
    from fleet_lab.sinks.api import Sink
    from fleet_lab.steps import Scenario, Step

__all__ = [
    "LINKS",
    "Check",
    "Conditions",
    "Device",
    "Fleet",
    "GenericDevice",
    "LabError",
    "Laboratory",
    "Load",
    "RunningFleet",
    "Scenario",
    "Sink",
    "State",
    "Step",
    "Stream",
    "command",
    "deploy_device",
    "deploy_fleet",
    "every",
]

_PLACES: Final = {
    "LINKS": "links.presets",
    "Check": "ledger.checks",
    "Conditions": "links.presets",
    "Device": "devices.api",
    "Fleet": "fleets.fleet",
    "GenericDevice": "devices.generic",
    "LabError": "errors",
    "Laboratory": "laboratory",
    "Load": "load",
    "RunningFleet": "fleets.running",
    "Scenario": "steps",
    "Sink": "sinks.api",
    "State": "devices.api",
    "Step": "steps",
    "Stream": "devices.generators",
    "command": "devices.api",
    "deploy_device": "fleets.fleet",
    "deploy_fleet": "fleets.fleet",
    "every": "devices.api",
}


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{place}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
