"""Who may connect at all, decided before anybody else is asked (fleet-protocol 2.3, I3, I8).

Support is judged here, before collisions are judged by the handler's registry, so that a device
that will be refused never evicts anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from module_gateway.protocol.errors import ModuleError, Reason
from module_gateway.protocol.identity import ROLE_PATTERN, Device
from module_gateway.protocol.internal import ConnectResponseType


class KnownModule(Protocol):
    """The two questions that the internal server asks a module."""

    def is_device_type_supported(self, device_type: int) -> bool:
        """Whether devices of this type may connect."""

    def forward_command_on_receive(self, device_type: int) -> bool:
        """Whether commands are pushed to devices of this type (fleet-protocol 2.10)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a device may not connect, and what it is told."""

    reason: Reason
    response: int | None
    """None: nothing, its connection is closed like after any other malformed message."""
    detail: str = ""


class Admission:
    """The form of a device, its module and its type.

    `attached` are the modules that some endpoint carries: a module that is configured but
    attached to none is as good as unknown (fleet-protocol 2.3, rule 2).
    `max_text_bytes` bounds role and name each, in UTF-8 (fleet-protocol 1.5: the smallest client
    has 128); what is longer is not even echoed.
    """

    def __init__(
        self, modules: Mapping[int, KnownModule], attached: frozenset[int], max_text_bytes: int
    ) -> None:
        self._modules = {number: modules[number] for number in modules if number in attached}
        self._unattached = frozenset(modules) - attached
        self._max_text_bytes = max_text_bytes

    def judge(self, device: Device) -> Refusal | None:
        """None when the handler may be asked about this device."""
        identity = device.identity
        longest = max(len(identity.role.encode()), len(device.name.encode()))
        if longest > self._max_text_bytes:
            detail = f"role or name of {longest} bytes, at most {self._max_text_bytes}"
            return Refusal(Reason.DEVICE_FORM, None, detail)
        module = self._modules.get(identity.module)
        if module is None:
            response = ConnectResponseType.MODULE_NOT_SUPPORTED
            return Refusal(Reason.MODULE_NOT_SUPPORTED, response, self._absence(identity.module))
        if not identity.role:  # the external server refuses it (fleet-protocol 1.4)
            return Refusal(Reason.DEVICE_FORM, ConnectResponseType.DEVICE_NOT_SUPPORTED, "no role")
        try:
            is_supported = module.is_device_type_supported(identity.device_type)
        except ModuleError as error:
            return Refusal(error.reason, ConnectResponseType.DEVICE_NOT_SUPPORTED, error.detail)
        if not is_supported:
            response = ConnectResponseType.DEVICE_NOT_SUPPORTED
            detail = f"its module has no device type {identity.device_type}"
            return Refusal(Reason.DEVICE_NOT_SUPPORTED, response, detail)
        return None

    def _absence(self, number: int) -> str:
        """Why there is no such module, for the operator."""
        if number in self._unattached:
            return f"module {number} is in no endpoint's modules"
        return f"module {number} is not in module-paths"

    def is_pushed_to(self, device: Device) -> bool:
        """Whether commands may be written to this device unasked."""
        module = self._modules.get(device.identity.module)
        try:
            return module is not None and module.forward_command_on_receive(
                device.identity.device_type
            )
        except ModuleError:
            return False


def is_role_conventional(role: str) -> bool:
    """Whether the fleet's HTTP side accepts it; others may connect, with a warning."""
    return ROLE_PATTERN.fullmatch(role) is not None
