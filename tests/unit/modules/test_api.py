"""What a module gets without writing it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from module_gateway.modules.api import Module, ModuleSettings


class SmallestModule(Module):
    """Only what must be written."""

    name = "smallest"
    default_number = 5000
    device_types = frozenset({1, 2})

    def status_data_valid(self, status: bytes, device_type: int) -> bool:
        return True

    def command_data_valid(self, command: bytes, device_type: int) -> bool:
        return True

    def generate_first_command(self, device_type: int) -> bytes:
        return b""

    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool:
        return True

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        return b""


def test_defaults() -> None:
    module = SmallestModule()
    assert [t for t in range(4) if module.is_device_type_supported(t)] == [1, 2]
    assert module.aggregate_status(b"old", b"new", 1) == b"new"
    assert module.generate_command(b"new", b"old", b"command", 1) == b"command"
    assert module.settings == ModuleSettings(
        codec="json", strict_compat=False, replay=False, push_only=False
    )


@pytest.mark.parametrize("push_only", [True, False])
def test_pushing_is_a_setting(push_only: bool) -> None:
    module = SmallestModule(ModuleSettings(push_only=push_only))
    assert module.forward_command_on_receive(1) is push_only


def test_module_without_its_functions_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Module()  # type: ignore[abstract]  # the point of the test


def test_settings_have_kebab_case_keys_and_do_not_change() -> None:
    settings = ModuleSettings.model_validate({"strict-compat": True})
    assert settings.strict_compat
    with pytest.raises(ValidationError):
        settings.strict_compat = False  # type: ignore[misc]  # the point of the test
