"""How the fields of a file become those that the settings expect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from module_gateway.runtime.config_forms import Draft, adapt


def adapted(fields: dict[str, Any]) -> Draft:
    draft = Draft(fields, Path("/etc/gateway"))
    adapt(draft)
    return draft


def test_a_version_marks_our_form() -> None:
    assert Draft({"config-version": 1}, Path()).is_ours
    assert not Draft({}, Path()).is_ours


def test_a_section_that_is_none_reads_as_empty() -> None:
    draft = Draft({"logging": [1]}, Path())

    assert draft.section("logging", "console") == {}


def test_paths_of_bus_and_state_start_at_the_file_too() -> None:
    draft = adapted({"config-version": 1, "bus": {"socket": "bus.sock"}, "state-dir": "state"})

    assert (draft.fields["bus"]["socket"], draft.fields["state-dir"]) == (
        "/etc/gateway/bus.sock",
        "/etc/gateway/state",
    )


def test_our_form_keeps_a_repeated_module_for_the_rules_to_refuse() -> None:
    endpoints = [{"modules": [1]}, {"modules": [1]}]
    draft = adapted({"config-version": 1, "external-connection": {"endpoints": endpoints}})

    assert draft.fields["external-connection"]["endpoints"][1]["modules"] == [1]
    assert draft.notices == []


def test_an_address_that_the_existing_form_gives_stays() -> None:
    draft = adapted({"internal-server-settings": {"ip-address": "127.0.0.1"}})

    assert draft.fields["internal-server-settings"]["ip-address"] == "127.0.0.1"
    assert draft.notices == []


def test_an_empty_module_binary_path_is_no_news() -> None:
    draft = adapted({"module-binary-path": "", "internal-server-settings": {"ip-address": "::"}})

    assert (draft.fields.get("module-binary-path"), draft.notices) == (None, [])
