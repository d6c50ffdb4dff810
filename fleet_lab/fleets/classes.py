"""From the name of a device class to what makes devices of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fleet_lab.devices.api import Device
from fleet_lab.devices.generators import Stream
from fleet_lab.errors import EXIT_CONFIG, LabError
from fleet_lab.import_path import import_object

MakeDevice: TypeAlias = Callable[[str, Stream, Mapping[str, Any]], Device]
"""Makes one more device of its id, generator and options."""


def device_factory(name: str) -> MakeDevice:
    """The class that `name` means: an import path.

    Raises:
        LabError: nothing has that name, or it is no device class.
    """
    found = import_object(name)
    if not (inspect.isclass(found) and issubclass(found, Device)):
        raise LabError(f"{name} is no subclass of fleet_lab.Device", EXIT_CONFIG)
    return found
