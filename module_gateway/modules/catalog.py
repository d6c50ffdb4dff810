"""From `module-paths` and `module-settings` to modules that are ready to be asked.

The only place that turns a name of the configuration into a class. Nothing is registered
anywhere: a name is a built-in, an import path, an entry point or an existing gateway's library.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from pydantic import ValidationError

from module_gateway.modules.api import Module, ModuleSettings
from module_gateway.modules.containment import ContainedModule, Limit, clean_detail
from module_gateway.protocol.errors import ConfigError

ENTRY_POINT_GROUP: Final = "module_gateway.modules"

BUILT_IN: Final[Mapping[str, str]] = {
    "mission": "module_gateway.modules.mission:MissionModule",
    "io": "module_gateway.modules.io:IoModule",
    "transparent": "module_gateway.modules.transparent:TransparentModule",
    "example": "module_gateway.modules.example:ExampleModule",
    "car_accessory": "module_gateway.modules.car_accessory:CarAccessoryModule",
}
"""Import paths, not classes: only what a configuration names is imported."""

MAX_NUMBER: Final = 2**31 - 1
"""Module numbers are an enum on the wire (fleet-protocol 1.2); 0 is its reserved value."""

EXPECTED: Final = (
    "a built-in module ("
    + ", ".join(BUILT_IN)
    + "), an import path 'package.module:Class', an installed entry point or a .so path "
    "with the name of a built-in"
)


def load_modules(
    module_paths: Mapping[str, str],
    module_settings: Mapping[str, Mapping[str, Any]],
    limit: Limit = nullcontext,
) -> dict[int, ContainedModule]:
    """One contained module per entry of `module-paths`, by its number.

    `limit` makes the context in which each call into a module runs (a time limit).

    Raises:
        ConfigError: naming `module-paths.<n>` or `module-settings.<n>.<key>`, for the first
            entry that is not what it must be.
    """
    for key in module_settings:
        if key not in module_paths:
            raise ConfigError(
                f"module-settings.{clean_detail(key)}",
                got=key,
                expected="a module number of module-paths",
                hint=_nearest(key, module_paths),
            )
    modules: dict[int, ContainedModule] = {}
    for key, value in module_paths.items():
        number = _number(key)
        module_class = find_class(f"module-paths.{key}", value)
        module = _build(key, module_class, module_settings.get(key, {}))
        modules[number] = ContainedModule(module, number, limit)
    return modules


def find_class(where: str, value: str) -> type[Module]:
    """The class that `value` names; `where` is the key to blame.

    Raises:
        ConfigError: there is none, it cannot be imported, or it is no complete module.
    """
    import_path = BUILT_IN.get(value)
    if import_path is None and value.endswith(".so"):
        import_path = _of_library(where, value)
    if import_path is None and ":" in value:
        import_path = value
    if import_path is None:
        return _checked(where, value, _load(where, value, _entry_point(where, value)))
    return _checked(where, value, _load(where, value, EntryPoint(value, import_path, "")))


def _number(key: str) -> int:
    is_canonical = re.fullmatch(r"[1-9][0-9]{0,9}", key, re.ASCII) is not None
    if is_canonical and int(key) <= MAX_NUMBER:
        return int(key)
    raise ConfigError(
        f"module-paths.{clean_detail(key)}",
        got=key,
        expected=f"a module number from 1 to {MAX_NUMBER} as the key",
    )


def _of_library(where: str, value: str) -> str:
    file_name = value.replace("\\", "/").rpartition("/")[2].lower().replace("-", "_")
    for name, import_path in BUILT_IN.items():
        # Whole words only: "mission" has an "io" in it.
        if re.search(rf"(?:^|^lib|[_.]){name}(?:[_.]|module)", file_name):
            return import_path
    raise ConfigError(
        where,
        got=value,
        expected=f"a library with the name of a built-in module in it ({', '.join(BUILT_IN)}), "
        "because native libraries are not loaded",
        hint="write the module in Python: see docs/modules.md",
    )


def _entry_point(where: str, value: str) -> EntryPoint:
    installed = entry_points(group=ENTRY_POINT_GROUP)
    for point in installed:
        if point.name == value:
            return point
    raise ConfigError(
        where,
        got=value,
        expected=EXPECTED,
        hint=_nearest(value, [*BUILT_IN, *(point.name for point in installed)]),
    )


def _load(where: str, value: str, point: EntryPoint) -> object:
    try:
        found: object = point.load()
    except (Exception, SystemExit) as failure:  # an edge: importing runs a stranger's code
        module_name, _, class_name = point.value.partition(":")
        defined = vars(sys.modules[module_name]) if module_name in sys.modules else ()
        reason = f"{type(failure).__name__}: {clean_detail(str(failure))}"
        if isinstance(failure, ModuleNotFoundError):
            reason += "; put the folder that holds it on PYTHONPATH"
        raise ConfigError(
            where,
            got=value,
            expected="a class that can be imported",
            hint=_nearest(class_name, defined) or reason,
        ) from failure
    return found


def _checked(where: str, value: str, found: object) -> type[Module]:
    if not (isinstance(found, type) and issubclass(found, Module)):
        kind = found.__name__ if isinstance(found, type) else type(found).__name__
        raise ConfigError(
            where,
            got=value,
            expected="a class derived from module_gateway.modules.api.Module",
            hint=f"it is {clean_detail(kind)}",
        )
    missing = sorted(found.__abstractmethods__)
    missing += [
        name for name in ("name", "default_number", "device_types") if not hasattr(found, name)
    ]
    if missing:
        raise ConfigError(
            where,
            got=value,
            expected="a complete module",
            hint=f"{found.__name__} does not define {', '.join(missing)}",
        )
    return found


def _build(key: str, module_class: type[Module], raw: Mapping[str, Any]) -> Module:
    settings = _settings(key, module_class.Settings, raw)
    try:
        module = module_class(settings)
    except Exception as failure:  # an edge: a stranger's constructor
        raise ConfigError(
            f"module-paths.{key}",
            got=module_class.__name__,
            expected="a module whose constructor takes its settings",
            hint=f"{type(failure).__name__}: {clean_detail(str(failure))}",
        ) from failure
    if not isinstance(getattr(module, "settings", None), ModuleSettings):
        raise ConfigError(
            f"module-paths.{key}",
            got=module_class.__name__,
            expected="a module that keeps its `settings`",
            hint="its constructor must call super().__init__(settings)",
        )
    return module


def _settings(
    key: str, settings_class: type[ModuleSettings], raw: Mapping[str, Any]
) -> ModuleSettings:
    try:
        return settings_class.model_validate(dict(raw))
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        is_unknown = first["type"] == "extra_forbidden"
        known = [field.alias or name for name, field in settings_class.model_fields.items()]
        raise ConfigError(
            f"module-settings.{key}" + (f".{clean_detail(path)}" if path else ""),
            got=path if is_unknown else first["input"],
            expected=f"one of the keys {', '.join(known)}"
            if is_unknown
            else first["msg"].removeprefix("Input should be "),
            hint=_nearest(path, known) if is_unknown else "",
        ) from problem


def _nearest(word: str, valid: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(valid), n=1)
    return f"did you mean {close[0]!r}?" if close else ""
