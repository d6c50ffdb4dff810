from __future__ import annotations

import pytest

from module_gateway.observe.tap.seen import KINDS, QUIET, Filter, Seen, known_kinds
from module_gateway.protocol.identity import Identity

A, B = Identity(3, 0, "a"), Identity(3, 0, "b")


def seen(kind: str, *devices: Identity) -> Seen:
    return Seen("bus", kind, "server/1", "handler/2", "m", devices)


def test_without_a_choice_everything_is_wanted_that_says_something() -> None:
    assert {kind for kind in KINDS if not Filter().wants(seen(kind))} == QUIET


def test_a_choice_of_kinds_is_exact() -> None:
    wanted = Filter(kinds=frozenset({"presence", "status"}))
    assert {kind for kind in KINDS if wanted.wants(seen(kind))} == {"presence", "status"}


def test_a_choice_of_devices_wants_messages_about_one_of_them() -> None:
    wanted = Filter(devices=frozenset({A}))
    assert wanted.wants(seen("status", A))
    assert wanted.wants(seen("connect", B, A))
    assert not wanted.wants(seen("status", B))
    assert not wanted.wants(seen("status"))


def test_kinds_are_words_that_exist() -> None:
    assert known_kinds(["status", "reply"]) == {"status", "reply"}
    assert known_kinds(["all"]) == set(KINDS)
    with pytest.raises(ValueError, match="stauts"):
        known_kinds(["stauts"])
