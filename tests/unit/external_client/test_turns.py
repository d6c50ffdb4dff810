"""Devices take turns, and replay takes turns with everything else (contract R18)."""

from __future__ import annotations

from module_gateway.external_client.entries import Lane
from module_gateway.external_client.turns import Turns
from tests.unit.external_client.world import device

A, B, C = (device(role).identity for role in "abc")


def test_each_device_has_one_turn_at_a_time_in_order() -> None:
    turns = Turns()
    for identity in (A, B, A, C):
        turns.add(identity)
    assert [A, B, C] == [turns.pop()[0] for _ in range(3)]
    assert not turns
    turns.add(A)
    assert A == turns.pop()[0]


def test_R18_replay_and_the_rest_alternate_while_both_wait() -> None:
    turns = Turns()
    for identity in (A, B, C):
        turns.add(identity, is_replayed=True)
    turns.add(A)
    turns.add(B)
    lanes = [turns.pop()[1] for _ in range(5)]
    assert [Lane.REPLAYED, Lane.LIVE, Lane.REPLAYED, Lane.LIVE, Lane.REPLAYED] == lanes


def test_R18_what_comes_after_a_replayed_one_goes_first() -> None:
    turns = Turns()
    turns.add(A, is_replayed=True)
    turns.add(B, is_replayed=True)
    turns.pop()
    turns.add(C)
    assert (C, Lane.LIVE) == turns.pop()


def test_cleared_turns_are_given_to_nobody() -> None:
    turns = Turns()
    turns.add(A)
    turns.add(A, is_replayed=True)
    turns.clear()
    assert not turns
    turns.add(A)
    assert (A, Lane.LIVE) == turns.pop()
