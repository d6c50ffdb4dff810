"""One device's merged status, and what of it is published."""

from __future__ import annotations

import pytest

from module_gateway.module_handler.aggregator import (
    Aggregate,
    Publication,
    merge_status,
    register,
)
from module_gateway.protocol.errors import ModuleError, Reason
from tests.unit.module_handler.scripted_module import ScriptedModule


@pytest.fixture
def module() -> ScriptedModule:
    return ScriptedModule()


def test_the_first_status_is_published_as_it_is() -> None:
    aggregate, publication = register(b"one", now=5.0)
    assert Publication(b"one") == publication
    assert (b"one", 5.0, False) == (
        aggregate.status,
        aggregate.published_at,
        aggregate.has_unpublished,
    )


def test_M3_a_met_condition_publishes_the_merge_and_re_arms(module: ScriptedModule) -> None:
    aggregate = Aggregate(b"one", published_at=5.0)
    merge = merge_status(aggregate, module, b"two", 0, now=8.0)
    assert Publication(b"one,two") == aggregate.apply(merge, now=8.0)
    assert (b"one,two", 8.0) == (aggregate.status, aggregate.published_at)


def test_M3_an_unmet_condition_merges_only(module: ScriptedModule) -> None:
    aggregate = Aggregate(b"one", published_at=5.0)
    merge = merge_status(aggregate, module, b"quiet", 0, now=8.0)
    assert aggregate.apply(merge, now=8.0) is None
    assert (b"one,quiet", 5.0, True) == (
        aggregate.status,
        aggregate.published_at,
        aggregate.has_unpublished,
    )


def test_the_condition_is_told_the_time_since_the_last_publication(
    module: ScriptedModule,
) -> None:
    merge_status(Aggregate(b"one", published_at=5.0), module, b"two", 1, now=8.5)
    assert [(b"one", b"two", 1, 3.5)] == module.calls("send_status_condition")


def test_asking_changes_nothing(module: ScriptedModule) -> None:
    aggregate = Aggregate(b"one", published_at=5.0)
    merge_status(aggregate, module, b"two", 0, now=8.0)
    assert (b"one", 5.0, False) == (
        aggregate.status,
        aggregate.published_at,
        aggregate.has_unpublished,
    )


def test_a_refused_merge_keeps_the_status_and_publishes_nothing(module: ScriptedModule) -> None:
    module.fails.add("aggregate_status")
    aggregate = Aggregate(b"one", published_at=5.0)
    merge = merge_status(aggregate, module, b"two", 0, now=8.0)
    assert merge.failure is not None
    assert aggregate.apply(merge, now=8.0) is None
    assert (b"one", 5.0, False) == (
        aggregate.status,
        aggregate.published_at,
        aggregate.has_unpublished,
    )


def test_a_refused_condition_merges_without_publishing(module: ScriptedModule) -> None:
    module.fails.add("send_status_condition")
    aggregate = Aggregate(b"one", published_at=5.0)
    merge = merge_status(aggregate, module, b"two", 0, now=8.0)
    assert aggregate.apply(merge, now=8.0) is None
    assert (b"one,two", True) == (aggregate.status, aggregate.has_unpublished)


@pytest.mark.parametrize("function", ["send_status_condition", "aggregate_status"])
def test_a_module_that_hangs_is_not_asked_again(module: ScriptedModule, function: str) -> None:
    module.hangs.add(function)
    with pytest.raises(ModuleError) as caught:
        merge_status(Aggregate(b"one", 5.0), module, b"two", 0, now=8.0)
    assert Reason.MODULE_HUNG == caught.value.reason
    assert function == module.asked[-1][0]


def test_a_heartbeat_repeats_only_what_was_published() -> None:
    aggregate = Aggregate(b"one", published_at=5.0)
    assert Publication(b"one", is_repeat=True) == aggregate.heartbeat(now=20.0)
    assert 20.0 == aggregate.published_at
    aggregate.has_unpublished = True
    assert Publication(b"one", is_repeat=False) == aggregate.heartbeat(now=35.0)
    assert Publication(b"one", is_repeat=True) == aggregate.heartbeat(now=50.0)


def test_the_last_word_ends_the_registration() -> None:
    aggregate = Aggregate(b"one", published_at=5.0)
    assert Publication(b"one", is_repeat=True, ends_registration=True) == aggregate.final()
    aggregate.has_unpublished = True
    assert Publication(b"one", is_repeat=False, ends_registration=True) == aggregate.final()
