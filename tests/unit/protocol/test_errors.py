from __future__ import annotations

import re

from module_gateway.protocol.errors import (
    ConfigError,
    GatewayError,
    ModuleError,
    Reason,
    RemoteProtocolError,
)


def test_a_config_error_is_one_sentence_for_the_operator():
    error = ConfigError("gateway.json: port", got=70000, expected="1 to 65535", hint="try 8888")

    assert "gateway.json: port is 70000; expected 1 to 65535 (try 8888)" == str(error)
    assert "x is missing; expected y" == str(ConfigError("x", got=None, expected="y"))


def test_remote_errors_carry_their_reason():
    assert Reason.FRAME_EMPTY == RemoteProtocolError(Reason.FRAME_EMPTY).reason
    assert "frame_empty: why" == str(RemoteProtocolError(Reason.FRAME_EMPTY, "why"))


def test_all_errors_have_one_root():
    assert issubclass(ModuleError, GatewayError)
    assert issubclass(RemoteProtocolError, GatewayError)


def test_reasons_are_metric_labels():
    assert all(re.fullmatch(r"[a-z_]+", reason) for reason in Reason)
