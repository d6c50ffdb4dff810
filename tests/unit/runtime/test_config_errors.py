"""Sentences about wrong settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.config_errors import ConfigFileError, key_text, nearest, unknown_key
from module_gateway.runtime.settings import Settings


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("internal_server_settings", "did you mean 'internal-server-settings'?"),
        ("LOGING", "did you mean 'logging'?"),
        ("qqqqqqq", ""),
    ],
)
def test_the_nearest_spelling_is_offered_when_one_is_near(word: str, expected: str) -> None:
    assert nearest(word, ["internal-server-settings", "logging", "bus"]) == expected


def test_a_location_is_written_as_a_person_writes_it() -> None:
    assert key_text(("external-connection", "endpoints", 0, "port")) == (
        "external-connection.endpoints[0].port"
    )
    assert key_text(()) == "the file"


def test_an_unknown_key_deep_in_the_file_is_compared_with_the_keys_of_its_section() -> None:
    location = ("external-connection", "endpoints", 0, "mqtt-settings", "cafile")

    assert str(unknown_key(Settings, location, "x")) == (
        "external-connection.endpoints[0].mqtt-settings.cafile is 'x'; expected a known key "
        "(did you mean 'ca-file'?)"
    )


def test_an_unknown_key_without_a_near_one_lists_what_there_is() -> None:
    text = str(unknown_key(Settings, ("logging", "zzz"), 1))

    assert text == "logging.zzz is 1; expected one of the keys console, file, format"


def test_the_error_of_a_file_carries_every_problem(tmp_path: Path) -> None:
    problems = [ConfigError("a", got=1, expected="2"), ConfigError("b", got=None, expected="3")]
    error = ConfigFileError("gateway.json", problems)

    assert error.problems == tuple(problems)
    assert str(error) == (
        "gateway.json: 2 errors in the configuration\n"
        "  a is 1; expected 2\n"
        "  b is missing; expected 3"
    )
