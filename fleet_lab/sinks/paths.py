"""Topics and paths with a device's own values in them."""

from __future__ import annotations

from fleet_lab.devices.api import Device


def expand(path: str, device: Device) -> str:
    """Put the device's values for `{id}`, `{role}`, `{module}` and `{device_type}`.

    Raises:
        KeyError, IndexError, ValueError: another placeholder, or a brace that is not closed.
    """
    return path.format_map(
        {
            "id": device.id,
            "role": device.role,
            "module": device.module,
            "device_type": device.device_type,
        }
    )
