"""How a choice of entries is written on a command line."""

from __future__ import annotations

import argparse

import pytest

from module_gateway.module_handler.buffer.selection import (
    Selection,
    identity,
    instant,
    module_number,
)
from module_gateway.protocol.identity import Identity

A = Identity(1000, 0, "a")
NOW = 1_800_000_000_000


def test_a_device_is_module_type_and_role() -> None:
    assert A == identity("1000/0/a")
    assert Identity(1, 2, "a/b c") == identity("1/2/a/b c")
    assert Identity(1, 2, "") == identity("1/2/")


@pytest.mark.parametrize(
    "text", ["", "a", "1", "1/2", "x/2/a", "1/x/a", "0/2/a", "1/-2/a", "1/²/a"]
)
def test_what_is_no_device_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        identity(text)
    assert "MODULE/TYPE/ROLE" in str(refused.value) or "module number" in str(refused.value)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "x", "²", str(2**31)])
def test_what_is_no_module_number_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        module_number(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", NOW),
        ("90s", NOW - 90_000),
        ("15min", NOW - 900_000),
        ("2h", NOW - 7_200_000),
        ("3d", NOW - 3 * 86_400_000),
        ("1w", NOW - 7 * 86_400_000),
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15T08:00:00.250", NOW + 250),
        ("2027-01-15T09:00:00+01:00", NOW),
    ],
)
def test_a_time_is_a_moment_or_so_long_ago(text: str, expected: int) -> None:
    assert expected == instant(NOW)(text)


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "2 h", "2m", "soon", "2027-13-01"])
def test_what_is_no_time_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="s, min, h, d, w"):
        instant(NOW)(text)


def test_nothing_given_chooses_everything() -> None:
    assert Selection().has_device(A)
    assert Selection().has_time(0)
    assert not Selection().is_timed


def test_what_is_given_must_all_hold() -> None:
    chosen = Selection(frozenset({1000}), frozenset({A}), since_unix_ms=10, before_unix_ms=20)
    assert chosen.has_device(A)
    assert not chosen.has_device(Identity(1000, 0, "b"))
    assert not Selection(frozenset({1})).has_device(A)
    assert not Selection(frozenset({1}), frozenset({A})).has_device(A)
    assert [False, True, True, False] == [chosen.has_time(time) for time in (9, 10, 19, 20)]
    assert chosen.is_timed
