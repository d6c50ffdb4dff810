"""The closed unions of events and effects."""

from __future__ import annotations

import dataclasses
import inspect
from typing import get_args

import pytest

from module_gateway.internal_server import events


def test_every_word_of_the_module_belongs_to_exactly_one_union():
    words = {
        member
        for _, member in inspect.getmembers(events, inspect.isclass)
        if member.__module__ == events.__name__
    }
    incoming, outgoing = set(get_args(events.Event)), set(get_args(events.Effect))
    assert incoming | outgoing == words
    assert incoming & outgoing == set()


def test_nothing_that_happened_can_be_changed():
    reply = events.ReplyArrived(1, b"")
    with pytest.raises(dataclasses.FrozenInstanceError):
        reply.sequence = 2  # type: ignore[misc]
