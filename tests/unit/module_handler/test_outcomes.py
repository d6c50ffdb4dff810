"""The registry's outcomes are values: they cannot be changed on their way."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from module_gateway.module_handler import outcomes
from module_gateway.module_handler.roster import Connection


def test_the_union_is_closed_over_all_outcomes_of_the_file() -> None:
    defined = {
        value
        for value in vars(outcomes).values()
        if isinstance(value, type) and value.__module__ == outcomes.__name__
    }
    assert defined == set(typing.get_args(outcomes.Outcome))


def test_an_outcome_cannot_be_changed() -> None:
    outcome = outcomes.ProbeWanted(Connection(1, 2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        outcome.connection = Connection(3, 4)  # type: ignore[misc]  # that is the point
