"""The car accessory module."""

from __future__ import annotations

import json

import pytest

from module_gateway.modules.api import ModuleSettings
from module_gateway.modules.car_accessory import CarAccessoryModule
from module_gateway.protocol.errors import ModuleError

PRESSED, RELEASED = b'{"pressed": true}', b'{"pressed": false}'
LIT, DARK = b'{"lit_up": true}', b'{"lit_up": false}'

SANE = CarAccessoryModule()
STRICT = CarAccessoryModule(ModuleSettings(strict_compat=True))
BOTH = pytest.mark.parametrize("module", [SANE, STRICT], ids=["sane", "strict"])


def test_B6_number_collides_with_nothing() -> None:
    assert (CarAccessoryModule.name, CarAccessoryModule.default_number) == ("car_accessory", 1001)
    assert [t for t in range(5) if SANE.is_device_type_supported(t)] == [0, 1]


@BOTH
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (PRESSED, True),
        (b'{"n":7,"pressed":false}', True),
        (b'{"pressed": 1}', False),
        (b'{"pressed": null}', False),
        (b"{}", False),
        (b"[true]", False),
        (b"true", False),
        (b"\xff", False),
        (b"", False),
    ],
)
def test_status_is_an_object_with_pressed(
    module: CarAccessoryModule, status: bytes, expected: bool
) -> None:
    assert module.status_data_valid(status, 0) is expected


@BOTH
@pytest.mark.parametrize(
    ("command", "expected"),
    [(LIT, True), (b'{"lit_up":false,"x":1}', True), (b'{"lit_up":"no"}', False), (b"", False)],
)
def test_command_is_an_object_with_lit_up(
    module: CarAccessoryModule, command: bytes, expected: bool
) -> None:
    assert module.command_data_valid(command, 0) is expected


@BOTH
def test_B6_light_follows_the_button(module: CarAccessoryModule) -> None:
    assert module.generate_first_command(0) == DARK
    assert module.generate_command(PRESSED, b"", DARK, 0) == LIT
    assert module.generate_command(PRESSED, RELEASED, DARK, 0) == LIT
    assert module.generate_command(RELEASED, PRESSED, LIT, 0) == DARK


def test_command_from_upstream_arrives_with_all_that_it_says() -> None:
    command = b'{"lit_up":true,"colour":"red"}'
    assert SANE.generate_command(RELEASED, RELEASED, command, 0) == command
    assert SANE.generate_command(PRESSED, RELEASED, command, 0) == command
    assert SANE.generate_command(RELEASED, PRESSED, command, 0) == DARK


def test_strict_light_ignores_commands() -> None:
    assert STRICT.generate_command(RELEASED, RELEASED, LIT, 0) == DARK


@BOTH
def test_status_without_pressed_has_no_answer(module: CarAccessoryModule) -> None:
    with pytest.raises(ModuleError, match="pressed"):
        module.generate_command(b"{}", PRESSED, LIT, 0)


@BOTH
def test_only_different_bytes_are_published(module: CarAccessoryModule) -> None:
    assert module.send_status_condition(RELEASED, PRESSED, 0, 0.0)
    assert not module.send_status_condition(PRESSED, PRESSED, 0, 1e9)


@BOTH
def test_aggregation_keeps_the_newest(module: CarAccessoryModule) -> None:
    assert module.aggregate_status(PRESSED, RELEASED, 0) == RELEASED


@BOTH
def test_B6_outage_counts_statuses(module: CarAccessoryModule) -> None:
    error = b""
    for status in (PRESSED, RELEASED, PRESSED, PRESSED):
        error = module.aggregate_error(error, status, 0)
    assert error == b'{"pressed_count": 3, "not_pressed_count": 1, "total_statuses": 4}'


def test_status_without_pressed_is_left_out_of_the_count() -> None:
    with pytest.raises(ModuleError):
        SANE.aggregate_error(b"", b"", 0)


def test_strict_status_without_pressed_becomes_the_error() -> None:
    counted = STRICT.aggregate_error(b"", PRESSED, 0)
    error = STRICT.aggregate_error(counted, b"", 0)
    assert list(json.loads(error)) == ["error"]
    assert STRICT.aggregate_error(error, PRESSED, 0) == error


@BOTH
@pytest.mark.parametrize("error", [b"{", b"[]", b'{"pressed_count": "many"}'])
def test_foreign_error_aggregate_is_refused(module: CarAccessoryModule, error: bytes) -> None:
    with pytest.raises(ModuleError):
        module.aggregate_error(error, PRESSED, 0)
