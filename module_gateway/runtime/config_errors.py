"""Turns what is wrong with a configuration file into sentences for its author.

Each names file, key and value, says what was expected, and offers the nearest valid spelling.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from module_gateway.protocol.errors import ConfigError

Location = tuple[str | int, ...]

_TYPE_WORDS: Final = {
    "string_type": "a text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a section",
    "model_type": "a section",
    "path_type": "a path",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
}
_PATTERN_WORDS: Final = {
    "^[a-z0-9_]+$": "lower-case letters a-z, digits and '_' only, at least one",
}


class ConfigFileError(ConfigError):
    """Everything that is wrong with one file, in the order of its keys."""

    def __init__(self, source: str, problems: Sequence[ConfigError]) -> None:
        self.source, self.problems = source, tuple(problems)
        super().__init__(source, got=None, expected="a valid configuration")
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        lines = [f"{source}: {count} in the configuration"]
        lines += [f"  {problem}" for problem in problems]
        self.args = ("\n".join(lines),)


def nearest(word: str, candidates: Iterable[str]) -> str:
    """A remedy that names the most similar candidate, "" when none is similar."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    match = difflib.get_close_matches(word.lower().replace("_", "-"), by_lower, n=1, cutoff=0.6)
    match = match or difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean {by_lower[match[0]]!r}?" if match else ""


def key_text(location: Location) -> str:
    """A location in the file as a person writes it: `external-connection.endpoints[0].port`."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text or "the file"


def unknown_key(model: type[BaseModel], location: Location, value: object) -> ConfigError:
    """The problem of a key that nobody reads."""
    section = _model_at(model, location[:-1])
    known = sorted(aliases(section)) if section is not None else []
    hint = nearest(str(location[-1]), known)
    expected = "a known key" if hint or not known else f"one of the keys {', '.join(known)}"
    return ConfigError(key_text(location), got=value, expected=expected, hint=hint)


def problem(model: type[BaseModel], details: ErrorDetails) -> ConfigError:
    """One of pydantic's findings as a sentence."""
    location: Location = details["loc"]
    kind = details["type"]
    if kind == "extra_forbidden":
        return unknown_key(model, location, details["input"])
    is_missing = kind == "missing"
    return ConfigError(
        key_text(location),
        got=None if is_missing else details["input"],
        expected=_expected(model, details),
        hint=_value_hint(details),
    )


def _expected(model: type[BaseModel], details: ErrorDetails) -> str:
    found = _field_at(model, details["loc"])
    limits = _limits(found) if found is not None else ""
    if limits:
        return limits
    kind, context = details["type"], details.get("ctx", {})
    match kind:
        case "string_pattern_mismatch":
            pattern = str(context.get("pattern"))
            return _PATTERN_WORDS.get(pattern, f"a text that matches {pattern}")
        case "literal_error":
            return str(context.get("expected"))
        case "greater_than_equal":
            return f"at least {context.get('ge')}"
        case "missing":
            return "a text" if found is not None and found.annotation is str else "a value"
        case _:
            return _TYPE_WORDS.get(kind, details["msg"].removeprefix("Input should be "))


def _limits(found: FieldInfo) -> str:
    low = next((item.ge for item in found.metadata if hasattr(item, "ge")), None)
    high = next((item.le for item in found.metadata if hasattr(item, "le")), None)
    if low is None:
        return ""
    return f"a whole number from {low} to {high}" if high is not None else f"at least {low}"


def _value_hint(details: ErrorDetails) -> str:
    value = details["input"]
    if details["type"] == "literal_error" and isinstance(value, str):
        expected = str(details.get("ctx", {}).get("expected", ""))
        return nearest(
            value, [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]
        )
    if details["type"] == "int_type" and isinstance(value, str) and value.isdigit():
        return "write it without quotes"
    return ""


def aliases(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The keys of a section as they are written in a file."""
    return {item.alias or name: item for name, item in model.model_fields.items()}


def _field_at(model: type[BaseModel], location: Location) -> FieldInfo | None:
    names = [part for part in location if isinstance(part, str)]
    section = _model_at(model, tuple(names[:-1]))
    return aliases(section).get(names[-1]) if section is not None and names else None


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel] | None:
    section: type[BaseModel] | None = model
    for part in location:
        if section is None:
            return None
        if isinstance(part, int):
            continue
        item = aliases(section).get(part)
        section = _model_in(item.annotation) if item is not None else None
    return section


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any type expression
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)
