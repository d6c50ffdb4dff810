"""The options of every entry point."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from module_gateway.runtime.config import default_settings
from module_gateway.runtime.options import (
    add_common_options,
    load_settings,
    port_number,
    settings_of,
)
from tests.unit.runtime.gateway_files import MINIMAL, changed, write


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_common_options(parser)
    return parser.parse_args(words)


def test_without_options_the_defaults_hold() -> None:
    assert settings_of(parse()) == default_settings()


@pytest.mark.parametrize("spelling", ["-c", "--config", "--config-path"])
def test_the_file_may_be_named_in_three_ways(tmp_path: Path, spelling: str) -> None:
    settings = settings_of(parse(spelling, str(write(tmp_path, MINIMAL))))

    assert settings.internal_server_settings.port == 1636


def test_options_win_over_the_file_and_keep_its_notices(tmp_path: Path) -> None:
    path = str(write(tmp_path, MINIMAL))
    words = ("-c", path, "--state-dir", "/s", "--log-level", "error", "--log-format", "json")
    settings = settings_of(parse(*words))

    assert (settings.state_dir, settings.logging.console.level, settings.logging.format) == (
        Path("/s"),
        "ERROR",
        "json",
    )
    assert settings.notices


@pytest.mark.parametrize(
    "words",
    [
        ("-c", "a", "--config-path=b"),
        ("--state-dir", "a", "--state-dir", "b"),
        ("--log-level", "LOUD"),
        ("--unknown",),
    ],
)
def test_F3_unknown_and_repeated_options_are_wrong_usage(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(*words)

    assert ended.value.code == 2


def test_a_wrong_file_ends_with_78_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, changed(MINIMAL, "internal-server-settings.port", 70000))
    with pytest.raises(SystemExit) as ended:
        load_settings(parse("-c", str(path)))

    assert ended.value.code == 78
    assert "internal-server-settings.port is 70000" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "port"), [("0", 0), ("2000", 2000), ("65535", 65535)])
def test_a_port_is_a_number_up_to_65535(text: str, port: int) -> None:
    assert port_number(text) == port


@pytest.mark.parametrize("text", ["70000", "65536", "-1", "", "1.0", "٣", "1 ", "0x10"])
def test_case18_a_port_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a port"):
        port_number(text)
