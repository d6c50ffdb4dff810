"""Conditions as people write them: `LTE`, `delay=80ms jitter=20ms rate=2mbit`, or a mapping.

A text is words divided by spaces or commas: at most one preset, first, then `key=value`, each
with an optional `up.` or `down.` before the key, or one of the bare words `cut` and `half-open`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Final

from fleet_lab.durations import parse_duration_s
from fleet_lab.errors import EXIT_USAGE, LabError, nearest
from fleet_lab.links.presets import CLEAR, LINKS, Conditions, OneWay, Side, flaky

__all__ = [
    "CLEAR",
    "KEYS",
    "LINKS",
    "Conditions",
    "OneWay",
    "Side",
    "conditions_text",
    "flaky",
    "parse_conditions",
]

KEYS: Final = {
    "delay": "delay_s",
    "jitter": "jitter_s",
    "rate": "rate_bps",
    "queue": "queue_s",
    "stall-every": "stall_every_s",
    "stall": "stall_s",
    "cut": "is_cut",
    "half-open": "is_half_open",
    "reset-every": "reset_every_s",
}
"""Written name of each value."""
NOT_PER_SIDE: Final = frozenset({"reset-every"})
_CLEAR_WORD: Final = "CLEAR"
_ALIASES: Final = {"REGULAR_3G": "3G", "NONE": _CLEAR_WORD}
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)(bit|kbit|mbit|gbit)(?:/s)?")
_RATE_UNITS: Final = {"gbit": 1e9, "mbit": 1e6, "kbit": 1e3, "bit": 1.0}
_FLAKY: Final = re.compile(r"FLAKY\(([^()]*)\)")
_WORD: Final = re.compile(r"[^\s,()]+(?:\([^()]*\))?")


def parse_conditions(source: str | Mapping[str, Any] | Conditions) -> Conditions:
    """Conditions of a text or of a mapping (`preset`, the KEYS, `up` and `down` tables).

    Raises:
        LabError: one sentence with the nearest spelling; exit code 2.
    """
    try:
        if isinstance(source, Conditions):
            return source
        if isinstance(source, str):
            return _of_words(source)
        return _of_mapping(source)
    except ValueError as error:
        raise LabError(f"link {_shown(source)}: {error}", EXIT_USAGE) from error


def conditions_text(conditions: Conditions) -> str:
    """One line that `parse_conditions` turns into equal conditions."""
    for name, preset in LINKS.items():
        if preset == conditions:
            return name
    words = [_CLEAR_WORD] if conditions == CLEAR else list(_words_of(conditions))
    return " ".join(words)


def _shown(source: object) -> str:
    return repr(source) if isinstance(source, str) else str(source)


def _of_words(text: str) -> Conditions:
    words = _WORD.findall(text)
    if not words:
        raise ValueError(f"empty; write a preset ({', '.join(LINKS)}) or for example delay=80ms")
    base = CLEAR
    if "=" not in words[0].partition("(")[0] and not _is_flag(words[0]):
        base = _preset(words.pop(0))
    values: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals and not _is_flag(key):
            raise ValueError(f"{word!r} is no key=value{nearest(word, KEYS)}")
        side, dot, name = key.rpartition(".")
        if dot and side not in ("up", "down"):
            raise ValueError(f"{key!r}: a side is `up.` or `down.`")
        target = values.setdefault(side, {}) if dot else values
        if name in target:
            raise ValueError(f"{key} is given twice")
        target[name] = value if equals else True
    return _with_values(base, values)


def _is_flag(word: str) -> bool:
    return word.rpartition(".")[2] in ("cut", "half-open")


def _of_mapping(mapping: Mapping[str, Any]) -> Conditions:
    values = {str(key).replace("_", "-"): value for key, value in mapping.items()}
    preset = values.pop("preset", None)
    if preset is not None and not isinstance(preset, str):
        raise ValueError(f"preset must be a text, not {preset!r}")
    return _with_values(CLEAR if preset is None else _of_words(preset), values)


def _preset(word: str) -> Conditions:
    made = _FLAKY.fullmatch(word)
    if made:
        return _flaky(made[1])
    name = _ALIASES.get(word, word)
    if name == _CLEAR_WORD:
        return CLEAR
    if name not in LINKS:
        near = nearest(word.upper(), LINKS) or f"; known are {', '.join(LINKS)}"
        raise ValueError(f"unknown preset {word!r}{near}")
    return LINKS[name]


def _flaky(arguments: str) -> Conditions:
    times = {"up_s": 20.0, "down_s": 5.0}
    for argument in arguments.split(","):
        key, _, value = argument.strip().partition("=")
        name = {"up": "up_s", "up_s": "up_s", "down": "down_s", "down_s": "down_s"}.get(key)
        if name is None:
            raise ValueError(f"FLAKY has no {key!r}; write FLAKY(up=20s, down=5s)")
        times[name] = _seconds(key, f"{value}s" if value.replace(".", "", 1).isdigit() else value)
    return flaky(times["up_s"], times["down_s"])


def _with_values(base: Conditions, values: Mapping[str, Any]) -> Conditions:
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key in ("up", "down"):
            if not isinstance(value, Mapping):
                raise ValueError(f"{key} must be a table of values, not {value!r}")
            before: Side = getattr(base, key)
            inner = {str(name).replace("_", "-"): v for name, v in value.items()}
            parsed: dict[str, Any] = dict(_parsed(inner, f"{key}."))
            changes[key] = replace(before, **parsed)
        else:
            changes.update(_parsed({key: value}, ""))
    return replace(base, **changes)


def _parsed(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float | bool]]:
    known = [key for key in KEYS if not (prefix and key in NOT_PER_SIDE)]
    for key, value in values.items():
        if key == "loss":
            raise ValueError("a byte stream has no loss: write stall=300ms stall-every=10s instead")
        if key not in known:
            near = nearest(key, known) or f"; known are {', '.join(known)}"
            raise ValueError(f"unknown key {prefix}{key!r}{near}")
        yield KEYS[key], _value(f"{prefix}{key}", KEYS[key], value)


def _value(key: str, field: str, value: Any) -> float | bool:  # noqa: ANN401  # from a file
    if field.startswith("is_"):
        if value in (True, "true", "yes"):
            return True
        if value in (False, "false", "no"):
            return False
        raise ValueError(f"{key} is true or false, not {value!r}")
    return _bits(key, value) if field == "rate_bps" else _seconds(key, value)


def _seconds(key: str, value: object) -> float:
    if value in (0, "0", "0s", "0ms") and value is not False:
        return 0.0
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004  # one kind of error for whatever is written
            f"{key} needs a unit: write for example {key}=80ms, not {value!r}"
        )
    try:
        return parse_duration_s(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _bits(key: str, value: object) -> float:
    found = _RATE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{key}: {value!r} is no rate; write for example 50kbit, 2mbit or 1gbit")
    return float(found[1]) * _RATE_UNITS[found[2]]


def _words_of(conditions: Conditions) -> Iterator[str]:
    written = {field: key for key, field in KEYS.items()}
    defaults = {field.name: field.default for field in fields(Conditions)}
    for prefix, values in (
        ("", conditions), ("up.", conditions.up), ("down.", conditions.down)
    ):  # fmt: skip
        for field, key in written.items():
            value = getattr(values, field, None)
            if value is not None and (prefix or value != defaults[field]):
                yield f"{prefix}{key}={_value_text(field, value)}"


def _value_text(field: str, value: float | bool) -> str:  # noqa: FBT001  # either kind of value
    if field.startswith("is_"):
        return "true" if value else "false"
    if field != "rate_bps":
        return f"{_plain(value)}s"
    unit = next((unit for unit, bits in _RATE_UNITS.items() if value >= bits), "bit")
    if (value / _RATE_UNITS[unit]) * _RATE_UNITS[unit] != value:
        unit = "bit"
    return f"{_plain(value / _RATE_UNITS[unit])}{unit}"


def _plain(value: float) -> str:
    """Exact and without an exponent."""
    text = f"{value:.17f}".rstrip("0").rstrip(".") if "e" in repr(value) else repr(value)
    return text.removesuffix(".0") if text.endswith(".0") else text
