"""What is particular to the memory store; the rest is `tests/contract/test_store.py`."""

from __future__ import annotations

import typing

from module_gateway.module_handler import store
from module_gateway.module_handler.command_log import Verdict
from module_gateway.module_handler.store import MemoryStore, VerdictRecorded
from module_gateway.protocol.identity import Identity
from tests.unit.module_handler.rig import at_once


def test_the_union_of_changes_is_closed_over_the_public_names() -> None:
    changes = {member.__name__ for member in typing.get_args(store.Change)}
    assert changes <= set(store.__all__)
    assert 7 == len(changes)


def test_verdicts_are_bounded_oldest_first() -> None:
    made = MemoryStore(max_verdicts=2)
    verdicts = [VerdictRecorded(0, Verdict(1, 1, n, Identity(7, 0, "a"), 0)) for n in range(3)]
    at_once(made.commit(verdicts))
    assert tuple(verdicts[1:]) == at_once(made.load()).verdicts
