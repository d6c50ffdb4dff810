"""The files in `config/`."""

from __future__ import annotations

from pathlib import Path

import pytest

from module_gateway.runtime.config import default_settings, load
from tools.example_config import PATH, render, undocumented

FOLDER = Path(__file__).resolve().parents[2] / "config"


def test_every_setting_is_explained() -> None:
    assert undocumented() == []


def test_the_example_is_current() -> None:
    """After a change of settings: `python -m tools.example_config`."""
    assert PATH.read_text(encoding="utf-8") == render()


def test_the_example_says_what_is_used_without_a_file() -> None:
    assert load(FOLDER / "example.toml").from_file("") == default_settings()


def test_the_demo_is_what_runs_without_a_file() -> None:
    demo = load(FOLDER / "demo.json")
    own = demo.internal_server_settings.model_copy(update={"ip_address": None})

    shown = demo.model_copy(update={"internal_server_settings": own}).from_file("")
    assert shown == default_settings()


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_no_file_needs_a_notice(path: Path) -> None:
    assert load(path).notices == ()
