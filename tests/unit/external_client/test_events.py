from __future__ import annotations

from typing import get_args

import pytest

from module_gateway.external_client.events import Event, HandlerLost, LinkUp, StopAsked, Tick
from tests.unit.external_client.world import ControlPlane, World


def test_the_union_is_closed() -> None:
    assert 10 == len(get_args(Event))


@pytest.mark.parametrize("event", [Tick(), LinkUp(), HandlerLost(99), StopAsked()])
def test_every_event_is_taken_at_any_time(event: Event) -> None:
    world = World(peer=ControlPlane(), starts=False)
    world.step(event)
    assert [] == world.published
