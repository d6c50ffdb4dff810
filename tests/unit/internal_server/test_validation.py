"""Who may connect at all."""

from __future__ import annotations

import pytest

from module_gateway.internal_server.validation import Admission, Refusal, is_role_conventional
from module_gateway.protocol.errors import ModuleError, Reason
from module_gateway.protocol.identity import Device


class TypesModule:
    """Supports some device types; pushes to some."""

    def __init__(self, supported: set[int], pushed: set[int] | None = None) -> None:
        self._supported, self._pushed = supported, pushed or set()

    def is_device_type_supported(self, device_type: int) -> bool:
        return device_type in self._supported

    def forward_command_on_receive(self, device_type: int) -> bool:
        return device_type in self._pushed


class FailingModule:
    def is_device_type_supported(self, device_type: int) -> bool:
        raise ModuleError("hung", Reason.MODULE_HUNG)

    def forward_command_on_receive(self, device_type: int) -> bool:
        raise ModuleError("raised")


MODULES = {1: TypesModule({0, 1}, {1}), 2: TypesModule({0}), 9: FailingModule()}


def admission(attached: set[int]) -> Admission:
    return Admission(MODULES, frozenset(attached), max_text_bytes=16)


def test_a_supported_device_of_an_attached_module_may_connect():
    assert admission({1}).judge(Device.of(1, 1, "left_button", "button", 5)) is None


@pytest.mark.parametrize("module", [0, 3, 4711, -5])
def test_I3_a_module_that_is_not_configured_is_refused_with_2(module: int):
    assert admission({1, 3}).judge(Device.of(module, 0, "role")) == Refusal(
        Reason.MODULE_NOT_SUPPORTED, 2, f"module {module} is not in module-paths"
    )


def test_a_module_without_an_endpoint_is_refused_like_an_unknown_one():
    assert admission({1}).judge(Device.of(2, 0, "role")) == Refusal(
        Reason.MODULE_NOT_SUPPORTED, 2, "module 2 is in no endpoint's modules"
    )


def test_I3_an_unsupported_type_is_refused_with_3():
    assert admission({1}).judge(Device.of(1, 2, "role")) == Refusal(
        Reason.DEVICE_NOT_SUPPORTED, 3, "its module has no device type 2"
    )


def test_an_empty_role_is_refused_with_3():
    refusal = admission({1}).judge(Device.of(1, 0, ""))
    assert refusal == Refusal(Reason.DEVICE_FORM, 3, "no role")


@pytest.mark.parametrize(
    "device", [Device.of(1, 0, "r" * 17), Device.of(1, 0, "r", "n" * 17), Device.of(1, 0, "é" * 9)]
)
def test_a_text_beyond_the_bound_is_not_even_echoed(device: Device):
    refusal = admission({1}).judge(device)
    assert refusal is not None
    assert (refusal.reason, refusal.response) == (Reason.DEVICE_FORM, None)


def test_texts_at_the_bound_are_fine():
    assert admission({1}).judge(Device.of(1, 0, "r" * 16, "é" * 8)) is None


def test_a_failing_module_refuses_its_own_devices():
    refusal = admission({9}).judge(Device.of(9, 0, "role"))
    assert refusal == Refusal(Reason.MODULE_HUNG, 3, "hung")


def test_only_push_only_types_of_known_modules_are_pushed_to():
    answers = {
        (module, device_type): admission({1, 2, 9}).is_pushed_to(
            Device.of(module, device_type, "role")
        )
        for module, device_type in [(1, 1), (1, 0), (2, 0), (9, 0), (77, 0)]
    }
    assert answers == {(1, 1): True, (1, 0): False, (2, 0): False, (9, 0): False, (77, 0): False}


@pytest.mark.parametrize(
    ("role", "is_conventional"),
    [
        ("left_button", True),
        ("b2", True),
        ("Left", False),
        ("a b", False),
        ("a\n", False),
        ("", False),
    ],
)
def test_roles_that_the_fleet_would_not_accept_are_recognised(role: str, is_conventional: bool):
    assert is_role_conventional(role) is is_conventional
