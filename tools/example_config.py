"""Writes `config/example.toml`: every key with its default and its meaning.

`python -m tools.example_config` after a change of `runtime/settings.py`; a test compares.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from module_gateway.runtime import settings as settings_module
from module_gateway.runtime.config import default_settings
from module_gateway.runtime.settings import Settings

PATH: Final = Path(__file__).resolve().parents[1] / "config" / "example.toml"
HEAD: Final = """\
# Every key of the configuration with its default. Copy what you need; leave the rest out.
# Written by `python -m tools.example_config`: change the texts in runtime/settings.py.
#
# The same keys work in JSON. Files of the existing C++ gateway are accepted as they are.
# (FP 2.6) names a section of the Fleet Protocol specification, (R6) a rule of our contract.
"""
EXAMPLES: Final[Mapping[str, object]] = {
    "state-dir": "/var/lib/module-gateway",
    "bus.socket": "/run/module-gateway/bus.sock",
    "bus.host": "127.0.0.1",
    "internal-server-settings.ip-address": "127.0.0.1",
    "module-handler-settings.modules": [1, 2],
}
"""Shown, as a comment, for keys that are absent by default."""
SECTION_EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "module-settings": ("# [module-settings.1]", '# codec = "protobuf"', "# replay = true"),
}
"""Shown, as comments, in sections that are empty by default."""
WIDTH: Final = 96


def docstrings() -> dict[str, dict[str, str]]:
    """Class name -> attribute name -> the text under it."""
    tree = ast.parse(inspect.getsource(settings_module))
    found: dict[str, dict[str, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            texts = found.setdefault(node.name, {"": ast.get_docstring(node) or ""})
            for field, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    name = getattr(field.target, "id", "")
                    texts[name] = inspect.cleandoc(ast.literal_eval(text.value))
    return found


def undocumented() -> list[str]:
    """Settings without a text."""
    texts = docstrings()
    return [
        f"{owner.__name__}.{name}"
        for owner in _sections(Settings)
        for name in owner.model_fields
        if not texts[owner.__name__].get(name) and not _is_section(owner, name)
    ]


def render() -> str:
    """The whole file."""
    texts = docstrings()
    shown = default_settings()
    lines = [HEAD, *_section("", shown, texts)]
    return "\n".join(lines) + "\n"


def _sections(owner: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield owner
    for field in owner.model_fields.values():
        kind = field.annotation
        for inner in (kind, *getattr(kind, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _sections(inner)


def _is_section(owner: type[BaseModel], name: str) -> bool:
    kind = owner.model_fields[name].annotation
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _section(path: str, shown: BaseModel, texts: dict[str, dict[str, str]]) -> Iterator[str]:
    """Plain keys first, then the sections, as TOML wants it."""
    own = texts[type(shown).__name__]
    values = {name: getattr(shown, name) for name in type(shown).model_fields}
    for name, value in values.items():
        if not isinstance(value, (BaseModel, dict)) and not _is_sections(value):
            yield from _comment(own.get(name, ""))
            yield _assignment(path, _key(name), value)
    for name, value in values.items():
        inner = f"{path}.{_key(name)}" if path else _key(name)
        if isinstance(value, BaseModel):
            text = own.get(name) or texts[type(value).__name__][""]
            yield from ("", *_comment(text), f"[{inner}]")
            yield from _section(inner, value, texts)
        elif isinstance(value, dict):
            yield from ("", *_comment(own.get(name, "")), f"[{inner}]")
            yield from (f"{json.dumps(key)} = {json.dumps(item)}" for key, item in value.items())
            yield from SECTION_EXAMPLES.get(inner, ())
        elif _is_sections(value):
            for item in value:
                yield from ("", *_comment(own.get(name, "")), f"[[{inner}]]")
                yield from _section(inner, item, texts)


def _is_sections(value: Any) -> bool:  # noqa: ANN401 - any setting
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], BaseModel)


def _assignment(path: str, key: str, value: object) -> str:
    full = f"{path}.{key}" if path else key
    if value is None:
        return f"# {key} = {json.dumps(EXAMPLES[full])}"
    return f"{key} = {json.dumps(list(value) if isinstance(value, tuple) else value)}"


def _key(name: str) -> str:
    return name.replace("_", "-")


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(text.replace("`", ""), WIDTH):
        yield f"# {line}"


def main() -> None:
    """Write the file."""
    PATH.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
