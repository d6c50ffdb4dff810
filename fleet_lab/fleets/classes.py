"""From what a specification says about a device to what makes devices of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fleet_lab.devices.api import Device
from fleet_lab.devices.catalog import device_class
from fleet_lab.devices.generators import Stream
from fleet_lab.errors import EXIT_CONFIG, LabError
from fleet_lab.import_path import import_object

MakeDevice: TypeAlias = Callable[[str, Stream, Mapping[str, Any]], Device]
"""Makes one more device of its id, generator and options."""


def device_factory(what: str | Mapping[str, Any]) -> MakeDevice:
    """A built-in name, an import path (also `/path/script.py:Class`), a template or its file.

    Raises:
        LabError: nothing has that name, or it is no device.
    """
    if not (isinstance(what, str) and ".py:" in what):
        return device_class(what)
    found = import_object(what)
    if not (inspect.isclass(found) and issubclass(found, Device)):
        raise LabError(f"device {what!r} is no subclass of fleet_lab.Device", EXIT_CONFIG)
    return found
