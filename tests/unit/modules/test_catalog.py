"""From names in the configuration to modules."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType
from typing import Any

import pytest

from module_gateway.modules import catalog
from module_gateway.modules.api import Module, ModuleSettings
from module_gateway.modules.catalog import BUILT_IN, load_modules
from module_gateway.modules.transparent import TransparentModule
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.settings import DEFAULT_MODULE_PATHS

PATH = "module-paths.7"


class OwnSettings(ModuleSettings):
    """A module's own keys."""

    max_speed: float = 1.0


class OwnModule(TransparentModule):
    """Somebody's module."""

    name = "own"
    Settings = OwnSettings


class HalfModule(Module):
    """Lacks most of it."""

    name = "half"


class FailingModule(TransparentModule):
    """Its constructor raises."""

    def __init__(self, settings: ModuleSettings | None = None) -> None:
        super().__init__(settings)
        raise OSError("no\nlicence")


class ForgetfulModule(TransparentModule):
    """Its constructor does not keep the settings."""

    def __init__(self, settings: ModuleSettings | None = None) -> None:
        del settings


@pytest.fixture(autouse=True)
def package() -> Iterator[None]:
    """The classes above as an importable package."""
    module = ModuleType("some_company")
    for name in ("OwnModule", "HalfModule", "FailingModule", "ForgetfulModule"):
        setattr(module, name, globals()[name])
    module.VERSION = "1"  # type: ignore[attr-defined]  # made here
    sys.modules["some_company"] = module
    yield
    del sys.modules["some_company"]


def refusal(value: str, settings: dict[str, Any] | None = None, key: str = "7") -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_modules({key: value}, {key: settings} if settings is not None else {})
    return caught.value


def test_default_numbers_are_the_modules_own() -> None:
    modules = load_modules(DEFAULT_MODULE_PATHS, {})
    assert {number: module.name for number, module in modules.items()} == {
        1: "mission",
        2: "io",
        3: "transparent",
        1000: "example",
        1001: "car_accessory",
    }
    assert set(BUILT_IN) == set(DEFAULT_MODULE_PATHS.values())
    assert all(load_modules({"7": name}, {})[7].number == 7 for name in BUILT_IN)


def test_any_number_may_be_given_to_any_module() -> None:
    modules = load_modules({"2": "car_accessory", "5": "car_accessory"}, {})
    assert [(module.number, module.name) for module in modules.values()] == [
        (2, "car_accessory"),
        (5, "car_accessory"),
    ]


def test_import_path() -> None:
    assert load_modules({"7": "some_company:OwnModule"}, {})[7].name == "own"


def test_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("thermostat", "some_company:OwnModule", catalog.ENTRY_POINT_GROUP)
    monkeypatch.setattr(
        catalog, "entry_points", lambda group: EntryPoints([point]).select(group=group)
    )
    assert load_modules({"7": "thermostat"}, {})[7].name == "own"
    assert "'thermostat'" in refusal("termostat").hint


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("./libmission-module-gateway-shared.so", "mission"),
        ("./libio-module-gateway-shared.so", "io"),
        ("/usr/lib/libtransparent-module-gateway-shared.so", "transparent"),
        ("libexample-module-gateway-shared.so", "example"),
        ("modules/car-accessory.so", "car_accessory"),
        ("lib\\iomodule.so", "io"),
        ("/opt/mission/v2/libio-module.so", "io"),
    ],
)
def test_library_means_the_built_in_of_its_name(path: str, name: str) -> None:
    assert load_modules({"7": path}, {})[7].name == name


@pytest.mark.parametrize("path", ["libfusion.so", "lib.so", "/opt/io/libdoor.so"])
def test_library_without_a_built_in_is_refused(path: str) -> None:
    error = refusal(path)
    assert (error.where, error.got) == (PATH, path)
    assert "native libraries are not loaded" in error.expected


@pytest.mark.parametrize(
    ("value", "expected", "hint"),
    [
        ("misson", "a built-in module", "'mission'"),
        ("some_company", "a built-in module", ""),
        ("", "a built-in module", ""),
        ("some_company:OwnModul", "can be imported", "'OwnModule'"),
        ("no_company:OwnModule", "can be imported", "no_company"),
        ("some_company:", "can be imported", ""),
        (":", "can be imported", ""),
        ("some company:Own Module", "can be imported", ""),
        ("some_company:VERSION", "derived from", "str"),
        ("builtins:int", "derived from", "int"),
        ("some_company:HalfModule", "complete module", "generate_first_command"),
        ("some_company:HalfModule", "complete module", "default_number"),
        ("some_company:FailingModule", "constructor", "OSError: no?licence"),
        ("some_company:ForgetfulModule", "settings", "super().__init__"),
    ],
)
def test_wrong_value_is_named_with_what_was_expected(value: str, expected: str, hint: str) -> None:
    error = refusal(value)
    assert error.where == PATH
    assert expected in error.expected
    assert hint in error.hint


def test_package_that_ends_the_process_is_refused(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quitting_company.py").write_text("raise SystemExit(1)")
    monkeypatch.syspath_prepend(tmp_path)
    assert "SystemExit" in refusal("quitting_company:X").hint


@pytest.mark.parametrize("key", ["0", "-1", "01", "1.5", "one", "", " 1", "2147483648", "¹"])
def test_number_is_a_whole_one_from_one(key: str) -> None:
    error = refusal("io", key=key)
    assert error.where == f"module-paths.{key}"
    assert "2147483647" in error.expected


def test_largest_number_is_accepted() -> None:
    assert list(load_modules({"2147483647": "io"}, {})) == [2147483647]


def test_settings_reach_the_module() -> None:
    paths = {"1": "mission", "7": "some_company:OwnModule"}
    modules = load_modules(
        paths, {"1": {"codec": "protobuf", "strict-compat": True}, "7": {"max-speed": 3}}
    )
    assert modules[1].settings == ModuleSettings(codec="protobuf", strict_compat=True)
    assert modules[7].settings == OwnSettings(max_speed=3.0)


@pytest.mark.parametrize(
    ("settings", "where", "got", "expected", "hint"),
    [
        ({"strict-compt": True}, ".strict-compt", "strict-compt", "codec", "'strict-compat'"),
        ({"codec": "xml"}, ".codec", "xml", "'json' or 'protobuf'", ""),
        ({"push-only": "often"}, ".push-only", "often", "valid boolean", ""),
        ({"max-speed": "fast"}, ".max-speed", "fast", "valid number", ""),
    ],
)
def test_wrong_setting_is_named(
    settings: dict[str, Any], where: str, got: object, expected: str, hint: str
) -> None:
    error = refusal("some_company:OwnModule", settings)
    assert error.where == "module-settings.7" + where
    assert error.got == got
    assert expected in error.expected
    assert hint in error.hint


def test_settings_of_no_module_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        load_modules({"1000": "example"}, {"1001": {}})
    assert caught.value.where == "module-settings.1001"
    assert "'1000'" in caught.value.hint


def test_limit_is_given_to_every_module() -> None:
    made: list[None] = []

    def limit() -> nullcontext[None]:
        made.append(None)
        return nullcontext()

    for module in load_modules(DEFAULT_MODULE_PATHS, {}, limit).values():
        module.status_data_valid(b"", 1)
    assert len(made) == 5


def test_only_what_the_configuration_names_is_imported() -> None:
    code = (
        "import sys; from module_gateway.modules.catalog import load_modules;"
        "load_modules({'3': 'transparent'}, {});"
        "names = ('mission', 'io', 'example', 'car_accessory', 'transparent');"
        "print([n for n in names if f'module_gateway.modules.{n}' in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert run.stdout.strip() == "['transparent']"
