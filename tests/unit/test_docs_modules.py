"""Every example of docs/modules.md does what the page says."""

from __future__ import annotations

import doctest
import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from module_gateway.modules.catalog import BUILT_IN, ENTRY_POINT_GROUP, load_modules
from module_gateway.modules.scaffold import create
from module_gateway.protocol.errors import ConfigError, ModuleError
from module_gateway.runtime.settings import DEFAULT_MODULE_PATHS

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "modules.md").read_text(encoding="utf-8")
BLOCKS = [
    (match[1].split(), match[2])
    for match in re.finditer(r"^```(\w+[^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
]
PAYLOADS = [(words[1:], text) for words, text in BLOCKS if len(words) == 4]


def blocks(*kind: str) -> Iterator[str]:
    for words, text in BLOCKS:
        if tuple(words) == kind:
            yield text


@pytest.fixture(autouse=True)
def examples_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "examples")


def test_every_block_is_of_a_kind_that_is_run_here() -> None:
    kinds = {
        words[0] if words[0] in ("pycon", "console") else " ".join(words[:2]) for words, _ in BLOCKS
    }
    assert kinds == {
        "console",
        "json command",
        "json config",
        "json error",
        "json refused",
        "json status",
        "pycon",
        "toml entry-point",
    }
    assert PAGE.count("```") == 2 * len(BLOCKS)


def test_shell_examples_print_what_the_page_says() -> None:
    source = "\n".join(blocks("pycon"))
    test = doctest.DocTestParser().get_doctest(source, {}, "docs/modules.md", None, 0)
    runner = doctest.DocTestRunner()
    report: list[str] = []
    runner.run(test, out=report.append)
    assert "".join(report) == ""
    assert runner.summarize(verbose=False).attempted > 20


def test_configuration_is_accepted() -> None:
    (text,) = blocks("json", "config")
    config = json.loads(text)
    modules = load_modules(config["module-paths"], config["module-settings"])
    assert {number: module.name for number, module in modules.items()} == {
        1: "mission",
        2: "car_accessory",
        2001: "thermostat",
    }


@pytest.mark.parametrize("text", list(blocks("json", "refused")))
def test_mistakes_are_refused_with_the_quoted_words(text: str) -> None:
    config = json.loads(text)
    with pytest.raises(ConfigError, match=re.escape(config["expected-error"])):
        load_modules(config["module-paths"], config.get("module-settings", {}))


def test_command_writes_the_module(tmp_path: Path) -> None:
    (text,) = blocks("console")
    match = re.fullmatch(r"\$ module-gateway module new (\w+)\n", text)
    assert match is not None
    assert [path.name for path in create(match[1], tmp_path)] == [
        "door_lock_module.py",
        "test_door_lock_module.py",
    ]
    assert "class DoorLockModule" in (tmp_path / "door_lock_module.py").read_text()


def test_entry_point_names_the_example() -> None:
    (text,) = blocks("toml", "entry-point")
    points = tomllib.loads(text)["project"]["entry-points"][ENTRY_POINT_GROUP]
    assert EntryPoint("thermostat", points["thermostat"], "").load().name == "thermostat"


@pytest.mark.parametrize(("words", "text"), PAYLOADS, ids=lambda value: " ".join(value)[:30])
def test_payload_is_what_the_page_says(words: list[str], text: str) -> None:
    kind, name, device_type = words[0], words[1], int(words[2])
    (module,) = load_modules({"7": name}, {}).values()
    payload = text.strip().encode()
    if kind == "error":
        statuses = [t.strip().encode() for w, t in PAYLOADS if w[:2] == ["status", name]]
        folded = module.aggregate_error(payload, statuses[0], device_type)
        assert json.loads(folded).keys() == json.loads(payload).keys()
        with pytest.raises(ModuleError):
            module.aggregate_error(b"{", b"{", device_type)
        return
    schema = module.status_payload if kind == "status" else module.command_payload
    is_valid = module.status_data_valid if kind == "status" else module.command_data_valid
    assert is_valid(payload, device_type)
    assert schema is not None
    schema.model_validate_json(payload)


def test_every_built_in_has_its_payloads_shown() -> None:
    shown = {(words[0], words[1]) for words, _ in PAYLOADS}
    assert {name for _, name in shown} == set(BUILT_IN) - {"transparent"}
    assert {name for kind, name in shown if kind == "status"} == {
        name for kind, name in shown if kind == "command"
    }


def test_table_of_numbers_is_the_default() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert dict(rows) == DEFAULT_MODULE_PATHS


def test_every_function_is_explained() -> None:
    named = set(re.findall(r"^\| `(\w+)\(", PAGE, re.MULTILINE))
    assert named == {
        name
        for name in vars(load_modules({"7": "io"}, {})[7].__class__)
        if not name.startswith("_")
    }
