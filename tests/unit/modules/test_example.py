"""The example module, with and without the native module's quirks."""

from __future__ import annotations

import pytest

from module_gateway.modules.api import ModuleSettings
from module_gateway.modules.example import ExampleModule
from module_gateway.protocol.errors import ModuleError

PRESSED, RELEASED = b'{"pressed": true}', b'{"pressed": false}'
LIT, DARK = b'{"lit_up": true}', b'{"lit_up": false}'

SANE = ExampleModule()
STRICT = ExampleModule(ModuleSettings(strict_compat=True))
BOTH = pytest.mark.parametrize("module", [SANE, STRICT], ids=["sane", "strict"])


def test_numbers_are_the_documented_ones() -> None:
    assert (ExampleModule.name, ExampleModule.default_number) == ("example", 1000)
    assert [t for t in range(5) if SANE.is_device_type_supported(t)] == [0]


@BOTH
@pytest.mark.parametrize(
    ("payload", "is_status", "is_command"),
    [
        (PRESSED, True, False),
        (RELEASED, True, False),
        (LIT, False, True),
        (DARK, False, True),
        (b'{"pressed":true}', False, False),
        (b'{"pressed": true} ', False, False),
        (b'{"pressed": 1}', False, False),
        (b'{"lit_up":true}', False, False),
        (b"", False, False),
    ],
)
def test_B5_payloads_match_byte_for_byte(
    module: ExampleModule, payload: bytes, is_status: bool, is_command: bool
) -> None:
    assert module.status_data_valid(payload, 0) is is_status
    assert module.command_data_valid(payload, 0) is is_command


@BOTH
def test_B5_first_command_is_dark(module: ExampleModule) -> None:
    assert module.generate_first_command(0) == DARK


def test_B5_strict_light_is_inverted_and_ignores_commands() -> None:
    for command in (LIT, DARK, b""):
        assert STRICT.generate_command(RELEASED, PRESSED, command, 0) == LIT
        assert STRICT.generate_command(PRESSED, RELEASED, command, 0) == DARK


def test_light_follows_the_button() -> None:
    assert SANE.generate_command(PRESSED, b"", DARK, 0) == LIT
    assert SANE.generate_command(RELEASED, PRESSED, LIT, 0) == DARK


def test_command_from_upstream_lights_a_quiet_button() -> None:
    assert SANE.generate_command(RELEASED, RELEASED, LIT, 0) == LIT


@BOTH
@pytest.mark.parametrize("status", [b"", b"{}", LIT])
def test_unknown_status_has_no_answer(module: ExampleModule, status: bytes) -> None:
    with pytest.raises(ModuleError):
        module.generate_command(status, b"", DARK, 0)


@BOTH
def test_only_different_bytes_are_published(module: ExampleModule) -> None:
    assert module.send_status_condition(b"", PRESSED, 0, 0.0)
    assert module.send_status_condition(RELEASED, PRESSED, 0, 0.0)
    assert not module.send_status_condition(PRESSED, PRESSED, 0, 1e9)


@BOTH
def test_aggregation_keeps_the_newest(module: ExampleModule) -> None:
    assert module.aggregate_status(PRESSED, RELEASED, 0) == RELEASED


@BOTH
def test_error_is_the_first_one_or_the_default(module: ExampleModule) -> None:
    assert module.aggregate_error(b"", PRESSED, 0) == b"Default error"
    assert module.aggregate_error(b"flat battery", PRESSED, 0) == b"flat battery"
