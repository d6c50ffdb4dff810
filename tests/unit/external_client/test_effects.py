from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import get_args

import pytest

from module_gateway.external_client import effects, events


@pytest.mark.parametrize("kind", [*get_args(effects.Effect), *get_args(effects.SessionEffect)])
def test_effects_cannot_be_changed(kind: type) -> None:
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert {field.name for field in fields(kind)} == set(kind.__slots__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", get_args(events.Event))
def test_events_cannot_be_changed(kind: type) -> None:
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
