"""The settings models: keys, limits, immutability."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from module_gateway.runtime.settings import InternalServerSettings, Settings


def test_keys_are_written_as_the_existing_gateway_writes_them() -> None:
    settings = Settings.model_validate({"internal-server-settings": {"reply-window-ms": 300}})

    assert settings.internal_server_settings.reply_window_ms == 300


def test_settings_do_not_change_after_they_were_read() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        InternalServerSettings().port = 1  # type: ignore[misc]  # that is the point


def test_a_port_of_ours_may_be_chosen_by_the_system_and_no_other_may() -> None:
    assert InternalServerSettings(port=0).port == 0
    with pytest.raises(ValidationError):
        Settings.model_validate({"bus": {"port": 0}})


def test_notices_travel_with_the_settings_and_are_no_setting() -> None:
    settings = Settings().with_notices(("note",))
    copied = settings.model_copy(update={"state_dir": None})

    assert (settings.notices, copied.notices, Settings().notices) == (("note",), ("note",), ())
    assert "notices" not in settings.model_dump()


def test_the_protocols_times_are_the_specifications() -> None:
    settings = Settings()

    assert (
        settings.internal_server_settings.reply_window_ms,
        settings.module_handler_settings.heartbeat_ms,
        settings.module_handler_settings.external_commands,
        settings.external_client_settings.status_timeout_ms,
        settings.external_client_settings.keepalive_s,
    ) == (250, 15_000, 3, 30_000, 15)
