"""How each module's statuses come out upstream, so that merging is not mistaken for losing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final


class MergeRule(Enum):
    """What must have become of an answered attempt."""

    EACH = auto()
    """Seen itself, or accounted for by a fold (car_accessory, transparent)."""
    LATEST = auto()
    """As EACH, or a later one was seen: the module publishes only news (mission)."""
    ORDERED = auto()
    """Upstream carries no number: something was seen after it (io, example)."""


MISSION, IO, TRANSPARENT, EXAMPLE, CAR_ACCESSORY = 1, 2, 3, 1000, 1001
"""Default module numbers (decisions.md, "Configuration")."""

_RULES: Final[Mapping[int, MergeRule]] = {
    MISSION: MergeRule.LATEST,
    IO: MergeRule.ORDERED,
    EXAMPLE: MergeRule.ORDERED,
}


def rule_of_module(module: int) -> MergeRule:
    """The rule of a built-in module; an unknown one is expected to lose nothing by merging."""
    return _RULES.get(module, MergeRule.EACH)


def statuses_in_fold(module: int, error: bytes) -> int | None:
    """How many statuses an error aggregate says it holds; None if this module does not say."""
    if module != CAR_ACCESSORY:
        return None
    match _json(error):
        case {"total_statuses": int(total)} if not isinstance(total, bool):
            return total
    return None


@dataclass(frozen=True, slots=True)
class Label:
    """What a device wrote into its status about the attempt itself; None where it wrote nothing."""

    number: int | None = None
    device_id: str | None = None


NO_LABEL: Final = Label()


def read_label(status: bytes) -> Label:
    """Keys `n` and `id` of a JSON object; a JSON string is looked into once.

    The native transparent module sends the raw text as a JSON string (fleet-protocol 6.3).
    """
    value = _json(status)
    if isinstance(value, str):
        value = _json(value)
    if not isinstance(value, dict):
        return NO_LABEL
    number, device_id = value.get("n"), value.get("id")
    return Label(
        number if type(number) is int else None,
        device_id if isinstance(device_id, str) else None,
    )


def _json(payload: bytes | str) -> Any:  # noqa: ANN401  # whatever a peer wrote
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None
