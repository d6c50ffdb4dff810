"""What must hold between settings."""

from __future__ import annotations

import pytest

from module_gateway.runtime.config import default_settings
from module_gateway.runtime.config_rules import broken_rules, tls_problems
from module_gateway.runtime.settings import Endpoint, ModuleHandlerSettings, MqttSettings


def test_the_defaults_break_no_rule() -> None:
    assert list(broken_rules(default_settings(), is_ours=True)) == []


@pytest.mark.parametrize("text", ["0-63", "5", "0-31,32-63", "1,2,3"])
def test_partitions_may_be_numbers_and_ranges(text: str) -> None:
    settings = default_settings().model_copy(
        update={"module_handler_settings": ModuleHandlerSettings(partitions=text)}
    )

    assert list(broken_rules(settings, is_ours=True)) == []


@pytest.mark.parametrize("text", ["", "64", "5-4", "a", "1-", "-1", "0-63-2", "1;2", "٣"])
def test_partitions_must_exist(text: str) -> None:
    settings = default_settings().model_copy(
        update={"module_handler_settings": ModuleHandlerSettings(partitions=text)}
    )

    assert [problem.where for problem in broken_rules(settings, is_ours=True)] == [
        "module-handler-settings.partitions"
    ]


def test_partitions_are_not_chosen_when_several_handlers_divide_them() -> None:
    settings = default_settings().model_copy(
        update={"module_handler_settings": ModuleHandlerSettings(partitions="0-31", processes=2)}
    )

    assert [problem.where for problem in broken_rules(settings, is_ours=True)] == [
        "module-handler-settings.partitions"
    ]


def test_plaintext_needs_no_files_and_tls_needs_all() -> None:
    plain = Endpoint(server_ip="a", port=1, modules=())
    secure = Endpoint(server_ip="a", port=1, modules=(), mqtt_settings=MqttSettings(ssl=True))

    assert list(tls_problems(plain, "e")) == []
    assert [problem.where for problem in tls_problems(secure, "e")] == [
        "e.mqtt-settings.ca-file",
        "e.mqtt-settings.client-cert",
        "e.mqtt-settings.client-key",
    ]
