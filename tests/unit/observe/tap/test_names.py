from __future__ import annotations

from module_gateway.observe.tap.names import Names
from module_gateway.protocol.identity import Identity

A, B = Identity(3, 0, "a"), Identity(3, 0, "b")


def test_a_name_is_known_from_when_it_was_learned() -> None:
    names: Names[int] = Names()
    assert names.of(1) == ()
    names.learn(1, A)
    names.learn(1, B)
    assert names.of(1) == (B,)


def test_the_name_that_was_not_used_for_the_longest_is_forgotten() -> None:
    names: Names[int] = Names(max_names=2)
    names.learn(1, A)
    names.learn(2, A)
    names.of(1)
    names.learn(3, B)
    assert [names.of(key) for key in (1, 2, 3)] == [(A,), (), (B,)]
    assert len(names) == 2
