"""The transparent module."""

from __future__ import annotations

import json

import pytest

from module_gateway.modules.api import ModuleSettings
from module_gateway.modules.transparent import TransparentModule
from module_gateway.protocol.errors import ModuleError

SANE = TransparentModule()
STRICT = TransparentModule(ModuleSettings(strict_compat=True))
BOTH = pytest.mark.parametrize("module", [SANE, STRICT], ids=["sane", "strict"])


def test_number_and_types() -> None:
    assert (TransparentModule.name, TransparentModule.default_number) == ("transparent", 3)
    assert all(SANE.is_device_type_supported(t) for t in (0, 1, 4_294_967_295))


@BOTH
@pytest.mark.parametrize("payload", [b"", b"\xff\x00", b'{"a":1}'])
def test_everything_is_valid_and_published(module: TransparentModule, payload: bytes) -> None:
    assert module.status_data_valid(payload, 9)
    assert module.command_data_valid(payload, 9)
    assert module.send_status_condition(payload, payload, 9, 0.0)


@BOTH
def test_B4_first_command_is_seventeen_bytes(module: TransparentModule) -> None:
    assert module.generate_first_command(0) == b'"default_command"'
    assert len(module.generate_first_command(0)) == 17


@BOTH
def test_commands_pass_unchanged(module: TransparentModule) -> None:
    assert module.generate_command(b"new", b"old", b"\x00\xff", 0) == b"\x00\xff"


@BOTH
def test_there_is_no_error_to_report(module: TransparentModule) -> None:
    assert module.aggregate_error(b"", b"x", 0) == b"{}"
    assert module.aggregate_error(b"{}", b"", 0) == b"{}"


def test_statuses_pass_unchanged() -> None:
    assert SANE.aggregate_status(b'{"a":1}', b'{"b":2}\xff', 0) == b'{"b":2}\xff'


def test_B4_strict_later_statuses_are_json_strings() -> None:
    # The aggregator keeps a device's first status as it is; only later ones are aggregated.
    assert STRICT.aggregate_status(b"x", b'{"a":1}', 0) == b'"{\\"a\\":1}"'
    assert json.loads(STRICT.aggregate_status(b"x", "Nádraží".encode(), 0)) == "Nádraží"


def test_strict_refuses_what_is_not_text() -> None:
    with pytest.raises(ModuleError, match="UTF-8"):
        STRICT.aggregate_status(b"x", b"\xff", 0)
