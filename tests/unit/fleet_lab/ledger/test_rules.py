"""How statuses may be merged, and what they say about themselves."""

from __future__ import annotations

import pytest

from fleet_lab.ledger.rules import (
    NO_LABEL,
    Label,
    MergeRule,
    read_label,
    rule_of_module,
    statuses_in_fold,
)


@pytest.mark.parametrize(
    ("module", "rule"),
    [
        (1, MergeRule.LATEST),
        (2, MergeRule.ORDERED),
        (3, MergeRule.EACH),
        (1000, MergeRule.ORDERED),
        (1001, MergeRule.EACH),
        (4711, MergeRule.EACH),
    ],
)
def test_each_module_has_its_rule(module, rule):
    assert rule_of_module(module) is rule


@pytest.mark.parametrize(
    ("status", "label"),
    [
        (b'{"n": 7, "id": "cars/1", "x": 1}', Label(7, "cars/1")),
        (b'"{\\"n\\": 7}"', Label(7, None)),
        (b'{"n": true, "id": 3}', NO_LABEL),
        (b'{"n": 7.0}', NO_LABEL),
        (b"[1]", NO_LABEL),
        (b"\xff\x00", NO_LABEL),
        (b"", NO_LABEL),
        (b"[" * 100_000, NO_LABEL),
    ],
)
def test_a_label_is_read_from_any_bytes(status, label):
    assert read_label(status) == label


@pytest.mark.parametrize(
    ("module", "error", "total"),
    [
        (1001, b'{"total_statuses": 12, "pressed_count": 1}', 12),
        (1001, b'{"total_statuses": true}', None),
        (1001, b'{"error": "x"}', None),
        (1001, b"", None),
        (3, b'{"total_statuses": 12}', None),
    ],
)
def test_only_the_car_accessory_says_how_many(module, error, total):
    assert statuses_in_fold(module, error) == total
