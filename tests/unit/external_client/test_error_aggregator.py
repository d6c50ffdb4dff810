"""Per-device folds: fleet-protocol 4.10, contract R8."""

from __future__ import annotations

import pytest

from module_gateway.external_client.entries import Entry
from module_gateway.external_client.error_aggregator import MAX_FOLDS, ErrorAggregator
from tests.unit.external_client.world import MODULE, TraceModule, device

A = device("a")
STORE = 11


@pytest.fixture
def folds() -> ErrorAggregator:
    return ErrorAggregator({MODULE: TraceModule()})


def entry(sequence: int, status: bytes | None = None, **more: object) -> Entry:
    text = b"%d" % sequence if status is None else status
    return Entry(A, text, sequence, STORE, **more)  # type: ignore[arg-type]


def test_device_without_a_fold_has_nothing(folds: ErrorAggregator) -> None:
    assert folds.get_last_status(A.identity) is None
    assert folds.get_error(A.identity) is None
    assert folds.clear(A.identity) is None
    assert A.identity not in folds


def test_status_is_remembered_and_folded_and_reading_does_not_clear(
    folds: ErrorAggregator,
) -> None:
    assert folds.add_status(entry(1))
    assert folds.add_status(entry(2))
    for _ in range(2):
        assert b"2" == folds.get_last_status(A.identity)
        assert b"[1][2]" == folds.get_error(A.identity)
    fold = folds.oldest(A.identity)
    assert fold is not None
    assert (1, 2, True) == (fold.first, fold.last, fold.has_news)


def test_refusal_updates_the_last_status_and_keeps_the_error(folds: ErrorAggregator) -> None:
    folds.add_status(entry(1))
    assert not folds.add_status(entry(2, b"refuse"))
    assert b"refuse" == folds.get_last_status(A.identity)
    assert b"[1]" == folds.get_error(A.identity)


def test_module_that_is_not_configured_is_a_refusal(folds: ErrorAggregator) -> None:
    other = Entry(device("a", module=77), b"x", 1, STORE)
    assert not folds.add_status(other)
    assert b"x" == folds.get_last_status(other.identity)
    assert folds.get_error(other.identity) is None


def test_repeat_is_covered_and_not_folded(folds: ErrorAggregator) -> None:
    folds.add_status(entry(1))
    folds.add_status(entry(2, b"1", is_repeat=True, ends_registration=True))
    fold = folds.oldest(A.identity)
    assert fold is not None
    assert (b"[1]", 2, True) == (fold.error, fold.last, fold.ends_registration)


def test_fold_of_repeats_only_has_no_news(folds: ErrorAggregator) -> None:
    folds.add_status(entry(1, is_repeat=True))
    fold = folds.oldest(A.identity)
    assert fold is not None
    assert not fold.has_news


def test_passed_status_becomes_the_last_one_only(folds: ErrorAggregator) -> None:
    folds.add_status(entry(1))
    folds.pass_status(entry(2))
    assert (b"2", b"[1]") == (folds.get_last_status(A.identity), folds.get_error(A.identity))


def test_frozen_fold_does_not_change_and_later_entries_survive_the_clear(
    folds: ErrorAggregator,
) -> None:
    folds.add_status(entry(1))
    frozen = folds.freeze(A.identity)
    assert not folds.accepts(A.identity)
    folds.add_status(entry(2))
    assert frozen == folds.frozen(A.identity)
    assert folds.accepts(A.identity)
    assert frozen == folds.clear(A.identity)
    assert b"[2]" == folds.get_error(A.identity)


def test_thawed_fold_is_extended(folds: ErrorAggregator) -> None:
    folds.add_status(entry(1))
    folds.freeze(A.identity)
    folds.thaw(A.identity)
    folds.add_status(entry(2))
    assert b"[1][2]" == folds.get_error(A.identity)


def test_fold_of_the_handler_starts_one(folds: ErrorAggregator) -> None:
    folds.add_status(entry(5, error=b"[1][5]", first_sequence=1))
    folds.add_status(entry(6))
    fold = folds.oldest(A.identity)
    assert fold is not None
    assert (1, 6, 5, b"[1][5][6]") == (fold.first, fold.last, fold.indivisible, fold.error)


def test_fold_of_the_handler_replaces_what_it_covers(folds: ErrorAggregator) -> None:
    folds.add_status(entry(2))
    folds.add_status(entry(5, error=b"[2][5]", first_sequence=2))
    assert b"[2][5]" == folds.get_error(A.identity)
    assert 1 == len(folds)


@pytest.mark.parametrize("first", [0, 3])
def test_disjoint_fold_of_the_handler_is_delivered_after_the_own(
    folds: ErrorAggregator, first: int
) -> None:
    folds.add_status(entry(2))
    folds.add_status(entry(5, error=b"[3][5]", first_sequence=first))
    folds.add_status(entry(6))
    assert b"[2]" == folds.get_error(A.identity)
    folds.clear(A.identity)
    assert b"[3][5][6]" == folds.get_error(A.identity)


def test_folds_of_a_device_are_bounded(folds: ErrorAggregator) -> None:
    for number in range(1, 40):
        folds.add_status(entry(number, error=b"e", first_sequence=number))
    assert MAX_FOLDS == len(folds._folds[A.identity])
    assert b"39" == folds.get_last_status(A.identity)


def test_empty_error_of_the_handler_is_no_error(folds: ErrorAggregator) -> None:
    folds.add_status(entry(5, error=b"", first_sequence=1))
    assert folds.get_error(A.identity) is None


def test_another_store_goes_on_with_its_own_numbers(folds: ErrorAggregator) -> None:
    folds.add_status(entry(7))
    folds.add_status(Entry(A, b"new", 1, STORE + 1))
    fold = folds.oldest(A.identity)
    assert fold is not None
    assert (STORE + 1, 1, 1, b"[7][new]") == (fold.store_id, fold.first, fold.last, fold.error)


def test_forgotten_device_has_nothing(folds: ErrorAggregator) -> None:
    folds.add_status(entry(7))
    folds.freeze(A.identity)
    folds.forget(A.identity)
    assert A.identity not in folds
    assert folds.frozen(A.identity) is None
