from __future__ import annotations

import pytest

from fleet_lab.devices.api import Device
from fleet_lab.sinks.paths import expand


def test_placeholders_are_the_devices_own() -> None:
    device = Device("cars/1", None, {"module": 7, "device_type": 2})
    assert expand("a/{id}/{role}/{module}/{device_type}", device) == "a/cars/1/cars_1/7/2"


@pytest.mark.parametrize("path", ["{idd}", "{", "{0}", "{}"])
def test_any_other_placeholder_is_an_error(path: str) -> None:
    with pytest.raises((KeyError, IndexError, ValueError)):
        expand(path, Device("a"))
