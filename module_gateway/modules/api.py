"""What a module author implements: one class, and nothing is registered anywhere else.

A module knows what the payload bytes of its devices mean. The gateway asks it; it answers from
its arguments alone: no I/O, no clock, no state between calls. The same class serves the module
handler (aggregation, commands), the external client (error aggregation) and the control plane
(forms, decoding).

The functions are those of the Fleet Protocol's module API (fleet-protocol 3.2), with the C
return codes mapped to Python: OK is the result, NOT_OK is `ModuleError`. An empty status or
command is `b""` and must be accepted everywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict


class ModuleSettings(BaseModel):
    """What `module-settings.<number>` may say. A module's own settings class derives from it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
    )

    codec: Literal["json", "protobuf"] = "json"
    strict_compat: bool = False
    """Also the documented quirks of the existing native module (fleet-protocol 6)."""
    replay: bool = False
    """After an outage send every stored status, not only the fold."""
    push_only: bool = False
    """Deliver commands at once, never repeat one (fleet-protocol 2.10)."""


class Payload(BaseModel):
    """Base for the shapes that a module declares for its statuses and commands.

    They serve forms, decoding and documentation; validity is the module's own decision.
    """

    model_config = ConfigDict(extra="allow")


class Module(ABC):
    """One kind of devices. Subclass it, fill in the class attributes, answer the questions."""

    name: ClassVar[str]
    """Lower-case word under which a configuration may name it."""
    default_number: ClassVar[int]
    """Module number unless the configuration gives another."""
    device_types: ClassVar[frozenset[int] | None]
    """Supported device types; None means every one."""
    Settings: ClassVar[type[ModuleSettings]] = ModuleSettings
    StatusPayload: ClassVar[type[BaseModel] | None] = None
    CommandPayload: ClassVar[type[BaseModel] | None] = None

    def __init__(self, settings: ModuleSettings | None = None) -> None:
        self.settings = settings if settings is not None else self.Settings()

    def is_device_type_supported(self, device_type: int) -> bool:
        """Whether devices of this type may connect."""
        return self.device_types is None or device_type in self.device_types

    def forward_command_on_receive(self, device_type: int) -> bool:  # noqa: ARG002
        """Whether commands are pushed at once and never repeated (fleet-protocol 2.10)."""
        return self.settings.push_only

    @abstractmethod
    def status_data_valid(self, status: bytes, device_type: int) -> bool:
        """Whether a status may be used at all. Asked for every status before anything else."""

    @abstractmethod
    def command_data_valid(self, command: bytes, device_type: int) -> bool:
        """Whether a command may be given to a device. Asked for every non-empty command."""

    @abstractmethod
    def generate_first_command(self, device_type: int) -> bytes:
        """The command that a device starts from."""

    @abstractmethod
    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool:
        """Whether the merge of `current` and `new` is worth publishing now.

        `since_published_s` is the time since this device's last published status. Not asked for
        the first status of a device, which is always published.
        """

    def aggregate_status(self, current: bytes, new: bytes, device_type: int) -> bytes:  # noqa: ARG002
        """Merge a valid status into the current one. By default the new one replaces it."""
        return new

    def generate_command(
        self, new: bytes, previous: bytes, command: bytes, device_type: int
    ) -> bytes:
        """The answer to status `new`.

        `previous` is the merged status before `new` (empty for the first), `command` the next
        one from the control plane, or the last answer when none is waiting. The result is the
        device's answer and the `command` of its next status.
        """
        del new, previous, device_type
        return command

    @abstractmethod
    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        """Fold one undeliverable status into the error aggregate (empty for the first)."""
