"""From the text or object in a fleet's specification to a device class."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path

from fleet_lab.devices.api import Device
from fleet_lab.devices.builtin import BUILTIN
from fleet_lab.devices.generic import Template, generic_device, read_template
from fleet_lab.errors import EXIT_CONFIG, LabError, nearest
from fleet_lab.import_path import import_object


def device_class(what: str | Path | Mapping[str, object] | type[Device]) -> type[Device]:
    """A class, a built-in's name, an import path, a template (also as text) or its `.json` file.

    Call it once per fleet: all devices of a template share what it read.

    Raises:
        LabError: names what is wrong and the nearest known spelling.
    """
    if isinstance(what, type):
        return _checked(what, repr(what))
    if isinstance(what, Mapping):
        return generic_device(Template(what))
    if isinstance(what, Path) or what.endswith(".json"):
        return generic_device(read_template(Path(what)))
    if what in BUILTIN:
        return BUILTIN[what]
    if what.lstrip().startswith("{"):
        return generic_device(Template(_parsed(what)))
    if ":" in what or "." in what:
        return _checked(import_object(what), what)
    raise LabError(
        f"device {what!r} is none of {', '.join(BUILTIN)}, nor a module:Class, nor a template "
        f"(.json){nearest(what, BUILTIN)}",
        EXIT_CONFIG,
    )


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LabError(f"template is no JSON: {error}", EXIT_CONFIG) from None


def _checked(found: object, shown: str) -> type[Device]:
    if inspect.isclass(found) and issubclass(found, Device):
        return found
    raise LabError(f"device {shown} is no subclass of fleet_lab.Device", EXIT_CONFIG)
