"""A purge takes what was agreed on, and nothing that came since."""

from __future__ import annotations

from pathlib import Path

import pytest

from module_gateway.module_handler.buffer import purge
from module_gateway.module_handler.buffer.place import Place
from module_gateway.module_handler.buffer.selection import Selection
from module_gateway.module_handler.buffer.view import open_view
from module_gateway.protocol.errors import StoreError
from module_gateway.runtime.config import default_settings
from tests.unit.module_handler.buffer.stores import A, B, appended, committed, entry, store_at


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(default_settings(), tmp_path, store_at(tmp_path))


async def test_what_came_since_the_question_stays(place: Place) -> None:
    await committed(place.store, *appended([entry(1), entry(2, B)]))
    agreed = purge.plan(place, Selection())
    assert "2 entries of 2 devices (528 B)" == agreed.words
    await committed(place.store, *appended([entry(3)]))
    await purge.carry_out(place, agreed, "--all")
    with open_view(place.store) as view:
        assert [entry(3)] == list(view.entries(Selection()))


async def test_another_store_in_the_same_place_is_left_alone(place: Place) -> None:
    await committed(place.store, *appended([entry(1)]))
    agreed = purge.plan(place, Selection(devices=frozenset({A.identity})))
    for each in place.store.parent.iterdir():
        each.unlink()
    await committed(place.store, *appended([entry(1)]))
    with pytest.raises(StoreError, match="was replaced meanwhile"):
        await purge.carry_out(place, agreed, "--all")
    assert 1 == purge.plan(place, Selection()).chosen.entries
