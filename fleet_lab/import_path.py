"""Classes and functions by name, so that another process can find them: `package.module:Name`.

What a person wrote in a script has a name too: `/path/script.py:Name`; the file is then imported
as a module of its own, so its part below `if __name__ == "__main__"` does not run again.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from fleet_lab.errors import EXIT_CONFIG, LabError

_SCRIPT_PREFIX: Final = "fleet_lab_script_"


def import_name(thing: Any) -> str:  # noqa: ANN401  # classes, functions and instances of both
    """Where another process finds a class or function; an object without a name gives its type's.

    Raises:
        LabError: a lambda or something local to a function: it has no name from outside.
    """
    owner = thing if hasattr(thing, "__qualname__") else type(thing)
    module, name = str(owner.__module__), str(owner.__qualname__)
    if "<" in name:
        raise LabError(
            f"{name} has no name that another process could find; define it at the top of a file",
            EXIT_CONFIG,
        )
    if module == "__main__" or module.startswith(_SCRIPT_PREFIX):
        file = getattr(sys.modules.get(module), "__file__", None)
        if file is None:
            raise LabError(f"{name} lives in no file; save it to one", EXIT_CONFIG)
        return f"{Path(file).resolve()}:{name}"
    return f"{module}:{name}"


def import_object(path: str) -> Any:  # noqa: ANN401  # whatever has that name
    """What `package.module:Name`, `package.module.Name` or `/path/file.py:Name` names.

    Raises:
        LabError: no such module, no such name, or the module fails while it is imported.
    """
    place, colon, name = path.rpartition(":")
    if not colon:
        place, _, name = path.rpartition(".")
    if not place or not name:
        raise LabError(f"{path!r} is no import path; write package.module:Name", EXIT_CONFIG)
    thing: Any = _module(place, path)
    for part in name.split("."):
        if not hasattr(thing, part):
            raise LabError(f"there is no {part!r} in {place}", EXIT_CONFIG)
        thing = getattr(thing, part)
    return thing


def _module(place: str, path: str) -> ModuleType:
    try:
        return _script(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except LabError:
        raise
    except Exception as error:  # supervisor edge: the module is the user's code
        what = f"{type(error).__name__}: {error}"
        raise LabError(f"cannot import {path!r}: {what}", EXIT_CONFIG) from error


def _script(file: Path) -> ModuleType:
    main = sys.modules.get("__main__")
    if main is not None and _is_file_of(main, file):
        return main
    name = f"{_SCRIPT_PREFIX}{file.stem}"
    known = sys.modules.get(name)
    if known is not None and _is_file_of(known, file):
        return known
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise LabError(f"there is no file {file}", EXIT_CONFIG)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_file_of(module: ModuleType, file: Path) -> bool:
    at = getattr(module, "__file__", None)
    return at is not None and Path(at).resolve() == file.resolve()
